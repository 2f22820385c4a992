/** The table of workers: state, what they say of themselves, and the history of their restarts. */
import { byId, list, make, mark, say, set, unseen } from "./dom.js";
import { count, duration, foreign } from "./format.js";
import { tell } from "./times.js";

/** What answers this page cannot be restarted by it; the command line can. */
const ANSWERS = new Set(["api", "serving"]);
const FAILURES = new Set(["failed", "hangs", "stuck", "gave up"]);

/** The mark of a worker's state. */
export function stateOf(state) {
  switch (state) {
    case "running":
    case "finished":
      return "good";
    case "starting":
    case "waiting":
      return "wait";
    case "backing off":
    case "stopping":
      return "warn";
    case "stuck":
      return "bad";
    default:
      return "off";
  }
}

/** Shows workers, and offers to restart one. ask(worker): called when its button is pressed. */
export class WorkersPart {
  #open = new Set();
  #workers = [];

  constructor(ask) {
    this.ask = ask;
  }

  show({ workers }) {
    this.#workers = workers;
    const rows = [];
    for (const worker of workers) {
      // A part that is well says nothing that its workers do not say.
      if (worker.isPart && worker.state === "running" && worker.restarts === 0) continue;
      rows.push({ key: worker.path, worker });
      if (this.#open.has(worker.path)) rows.push({ key: `${worker.path} history`, history: worker });
    }
    list(byId("workers"), rows, (row) => row.key,
      (row) => (row.history ? createHistory(row.history) : this.#create(row.worker)),
      (element, row) => (row.history ? updateHistory(element, row.history) : this.#update(element, row.worker)));
  }

  #create({ name, path, isPart }) {
    const toggle = make("button", { type: "button", "aria-controls": historyId(path) });
    toggle.addEventListener("click", () => {
      if (!this.#open.delete(path)) this.#open.add(path);
      this.show({ workers: this.#workers });
    });
    const shown = foreign(name);
    const restart = make("button", { type: "button", "data-worker": path }, "Restart", unseen(` ${shown}`));
    restart.addEventListener("click", () => this.ask(this.#workers.find((worker) => worker.path === path)));
    restart.hidden = ANSWERS.has(name);
    const called = make("span", { class: "line" }, isPart ? `${shown} (all of it)` : shown);
    const says = make("span", { class: "line second said" });
    const uptime = make("span", { class: "second beside uptime" });
    return make("tr", {},
      make("th", { scope: "row" }, make("span", { class: "cell" }, called, says)),
      make("td", {}, make("span", { class: "state" }, mark(), make("span", { class: "state-word" }), uptime)),
      make("td", {}, make("span", { class: "second" }, "none"), toggle, make("span", { class: "second beside" }, make("time"))),
      make("td", {}, restart));
  }

  #update(row, worker) {
    const [who, how, times] = row.children;
    const line = who.firstElementChild.lastElementChild;
    const calm = worker.state === "running";
    const words = said(worker);
    say(line, words);
    set(line, "title", words || null);
    set(line, "data-calm", calm);
    const [state] = how.children;
    set(state, "data-state", stateOf(worker.state));
    say(state.children[1], worker.state);
    say(state.lastElementChild, calm && worker.uptimeS !== null ? `for ${coarse(worker.uptimeS)}` : "");
    const [none, toggle, last] = times.children;
    const has = worker.restarts > 0 || worker.history.some((each) => FAILURES.has(each.kind));
    none.hidden = has;
    toggle.hidden = !has;
    last.hidden = !has;
    if (has) {
      say(toggle, count(worker.restarts));
      set(toggle, "aria-label", `Restarts of ${foreign(worker.name)}: ${count(worker.restarts)}; history`);
      set(toggle, "aria-expanded", String(this.#open.has(worker.path)));
      const latest = worker.history.find((each) => each.kind === "restarted") ?? worker.history[0];
      tell(last.firstElementChild, latest?.at, "");
    }
  }
}

/** What a worker says of itself while it runs; else when it starts again, and what was wrong. */
function said({ state, status, lastError, nextRestartInS }) {
  if (state === "running") return foreign(status);
  const when = state === "backing off" && nextRestartInS !== null ? `again in ${duration(nextRestartInS)}` : "";
  return [when, foreign(lastError ?? status)].filter((each) => each !== "").join(": ");
}

/** Without seconds once there are minutes: a table full of running seconds is restless. */
function coarse(seconds) {
  return duration(seconds < 60 ? Math.floor(seconds) : Math.floor(seconds / 60) * 60).replace(/^(\d)\.0\u00a0s$/, "$1 s");
}

function historyId(path) {
  return `history-${path.replace(/[^a-z0-9]/gi, "-")}`;
}

function createHistory(worker) {
  return make("tr", { id: historyId(worker.path), class: "history-row" },
    make("td", { colspan: "4" }, make("ol", { class: "history", "aria-label": `${foreign(worker.name)}, newest first` })));
}

function updateHistory(row, worker) {
  const counted = new Map();
  const events = worker.history.map((event) => {
    const name = `${event.at} ${event.kind}`;
    counted.set(name, (counted.get(name) ?? 0) + 1);
    return { ...event, key: `${name} ${counted.get(name)}` };
  });
  list(row.firstElementChild.firstElementChild, events, (event) => event.key,
    () => make("li", {}, make("time"), make("p", {}, make("strong"), " ", make("span"))),
    (element, event) => {
      const [time, words] = element.children;
      tell(time, event.at);
      say(words.firstElementChild, event.kind);
      say(words.lastElementChild, foreign(event.text));
    });
}
