/** The upper half of the board: verdict, degraded parts, and the way of a message with its sparklines. */
import { byId, list, make, mark, say, set } from "./dom.js";
import { duration, foreign, timeOfDay } from "./format.js";
import { Sparkline } from "./sparkline.js";
import { stations } from "./stations.js";
import { tell } from "./times.js";
import { effectAndCause, named, notices, verdict, worstFirst } from "./verdict.js";

const LENGTH = 120;
const LATE_S = 4;
const WINDOW_MS = 60_000;
const SETTLED_MS = 5_000;

/** Remembers what sparklines and the rate of storing need from one look to the next. */
export class OverviewPart {
  #sparks = new Map();
  #flushed = [];
  #lastMs = null;

  /** Shows an overview. Gives its verdict. */
  show(overview) {
    const found = verdict(overview);
    showVerdict(found);
    this.#facts(overview);
    trouble(overview);
    this.#way(overview);
    return found;
  }

  /** Says that the connection is not there. sinceMs: of the last figures; null before the first. */
  lose(sinceMs, why) {
    const headline = sinceMs === null ? "Not connected" : `Not connected since ${timeOfDay(sinceMs)}`;
    const figures = sinceMs === null ? "" : " The figures below are from then.";
    const detail = `${why.charAt(0).toUpperCase()}${why.slice(1).replace(/\.$/, "")}; trying again.${figures}`;
    showVerdict({ level: "lost", headline, detail });
    return { level: "lost", headline, detail, key: "lost" };
  }

  #facts(overview) {
    const facts = [
      ["Up for", duration(overview.uptimeS)],
      ["Role", overview.role === "all" ? "takes in and serves" : "only serves"],
      ["Version", foreign(overview.version)],
    ];
    list(byId("facts"), facts, ([name]) => name,
      ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
      (element, [, value]) => say(element.lastElementChild, value));
  }

  #way(overview) {
    const atMs = Date.parse(overview.at);
    const seconds = this.#secondsSinceLast(atMs);
    const stored = this.#storedPerMinute(overview, atMs);
    list(byId("way"), stations(overview, stored), (station) => station.name,
      (station) => {
        const spark = new Sparkline(LENGTH);
        this.#sparks.set(station.name, spark);
        return createStation(station, spark);
      },
      (element, station) => {
        updateStation(element, station);
        const spark = this.#sparks.get(station.name);
        // A look that took a little longer is no gap.
        const between = seconds <= LATE_S ? station.sample : null;
        for (let gap = 1; gap < Math.min(seconds, LENGTH); gap += 1) spark.add(between, station.least);
        if (seconds > 0) spark.add(station.sample, station.least);
      });
  }

  /** How many whole seconds further the lines go with this look; one at first. Looks come oftener than that, too. */
  #secondsSinceLast(atMs) {
    const seconds = this.#lastMs === null ? 1 : Math.floor((atMs - this.#lastMs + 100) / 1000);
    if (this.#lastMs === null || seconds > LATE_S || seconds < -LATE_S) this.#lastMs = atMs;
    else if (seconds > 0) this.#lastMs += seconds * 1000;
    return Math.max(0, seconds);
  }

  /** Changes that reached the database, a minute, by how far the journal's flushed position moved. */
  #storedPerMinute({ journal }, atMs) {
    if (journal === null) return null;
    const past = this.#flushed;
    const last = past.at(-1);
    if (last && (last.epoch !== journal.epoch || last.position > Number(journal.flushed))) past.length = 0;
    past.push({ epoch: journal.epoch, position: Number(journal.flushed), atMs });
    while (past.length > 2 && past[1].atMs <= atMs - WINDOW_MS) past.shift();
    const [first] = past;
    if (atMs - first.atMs < SETTLED_MS) return null;
    return ((Number(journal.flushed) - first.position) / (atMs - first.atMs)) * 60_000;
  }
}

function showVerdict({ level, headline, detail }) {
  byId("verdict").dataset.level = level;
  say(byId("headline"), headline);
  say(byId("detail"), detail);
}

function trouble(overview) {
  const state = overview.health.ready ? "warn" : "bad";
  const items = [
    ...worstFirst(overview.health.degraded).map((part) => ({
      key: part.what, state, what: named(part.what), since: part.since, ...effectAndCause(part),
    })),
    ...notices(overview).map((notice, index) => ({ key: `notice ${index}`, state: "wait", ...notice })),
  ];
  list(byId("trouble"), items, (item) => item.key,
    () => make("li", {},
      mark(),
      make("span", { class: "what" }),
      make("span", { class: "since" }, "began ", make("time")),
      make("p", { class: "why" }, make("span", { class: "effect" }), " ", make("span", { class: "cause" }))),
    (element, item) => {
      set(element, "data-state", item.state);
      const [, what, since, why] = element.children;
      say(what, item.what);
      since.hidden = item.since === null;
      if (item.since !== null) tell(since.lastElementChild, item.since);
      say(why.firstElementChild, item.effect + (/[.!?]$/.test(item.effect) ? "" : "."));
      say(why.lastElementChild, item.cause === "" ? "" : `Cause: ${item.cause}`);
    });
}

function createStation({ name }, spark) {
  return make("li", { class: "station" },
    make("p", { class: "station-head" },
      mark(), make("span", {}, name),
      make("span", { class: "state-word" })),
    make("p", { class: "station-figure" }, make("strong"), make("span")),
    make("p", { class: "station-more" }),
    make("p", { class: "station-more" }),
    spark.element);
}

function updateStation(element, station) {
  const [head, value, first, second] = element.children;
  set(head, "data-state", station.state);
  say(head.lastElementChild, station.word);
  say(value.firstElementChild, station.figure);
  say(value.lastElementChild, station.unit);
  say(first, station.more[0] ?? "");
  say(second, station.more[1] ?? "");
}
