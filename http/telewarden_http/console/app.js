/** The console: a key in, one stream of figures, and the board that shows them. */
import { Actions } from "./actions.js";
import { address } from "./api.js";
import { byId, clear, say } from "./dom.js";
import { JobsPart } from "./jobs.js";
import { forgetKey, keepKey, keptKey } from "./key.js";
import { showMessages } from "./messages.js";
import { note } from "./outcomes.js";
import { OverviewPart } from "./overview.js";
import { showStores } from "./stores.js";
import { follow } from "./stream.js";
import { ChannelsPart, showConsumers } from "./tables.js";
import { offer } from "./theme.js";
import { now, renewAll, serverSays } from "./times.js";
import { timeOfDay } from "./format.js";
import { WorkersPart } from "./workers.js";

const STREAM = "v1/admin/overview/stream";
/** What holds figures: emptied when the key is forgotten or no longer good. */
const SHOWN = ["facts", "trouble", "way", "workers", "channels", "consumers", "stores", "jobs", "messages"];

let connection = null;
let told = "";

const jobs = new JobsPart(keptKey);
const actions = new Actions(keptKey, jobs);
const overviewPart = new OverviewPart();
const workersPart = new WorkersPart((worker) => unlessLost(() => actions.restart(worker)));
const channelsPart = new ChannelsPart((channel) => unlessLost(() => actions.turn(channel)));
let latestMs = null;
let isLost = true;

/** Opens the board with a key that was given just now or is kept. fresh: it was given just now. */
function connect(key, fresh) {
  connection?.abort();
  connection = new AbortController();
  const { signal } = connection;
  byId("enter").disabled = fresh;
  if (!fresh) showBoard();
  link("wait", "connecting");
  follow(address(STREAM), key, signal, {
    event: (event) => {
      if (signal.aborted) return;
      const overview = JSON.parse(event.data);
      if (byId("board").hidden) {
        keepKey(key);
        showBoard();
      }
      show(overview);
    },
    lost: (words) => !signal.aborted && lose(words),
    refused: (words) => !signal.aborted && refuse(words),
  });
}

function showBoard() {
  byId("entry").hidden = true;
  byId("board").hidden = false;
  byId("leave").hidden = false;
  byId("enter").disabled = false;
  byId("key").value = "";
}

function showEntry(words) {
  connection?.abort();
  isLost = true;
  latestMs = null;
  jobs.end();
  for (const name of SHOWN) clear(byId(name));
  byId("outcomes").replaceChildren();
  byId("board").hidden = true;
  byId("leave").hidden = true;
  byId("entry").hidden = false;
  byId("enter").disabled = false;
  say(byId("entry-error"), words);
  byId("key").setAttribute("aria-invalid", String(words !== ""));
  link("none", "not connected");
  document.title = "Telewarden";
  byId("key").focus();
}

function show(overview) {
  const wasLost = isLost;
  isLost = false;
  serverSays(overview.at);
  latestMs = Date.now();
  document.body.classList.remove("stale");
  const verdict = overviewPart.show(overview);
  workersPart.show(overview);
  channelsPart.show(overview);
  showConsumers(overview);
  showStores(overview);
  showMessages(overview);
  // Jobs are for the process that takes in.
  byId("sync").hidden = overview.role !== "all";
  byId("warm").hidden = overview.role !== "all" || overview.cache === null;
  link("good", `live, ${timeOfDay(now())}`);
  announce(verdict);
  if (wasLost) jobs.begin();
}

function lose(why) {
  if (byId("board").hidden) {
    // The key was never tried: say so where it was given.
    byId("enter").disabled = false;
    say(byId("entry-error"), `Not connected: ${why}. Trying again …`);
    link("bad", "not connected");
    return;
  }
  isLost = true;
  document.body.classList.toggle("stale", latestMs !== null);
  const verdict = overviewPart.lose(latestMs, why);
  link("bad", latestMs === null ? "not connected" : `not connected since ${timeOfDay(latestMs)}`);
  announce(verdict);
}

function refuse(words) {
  forgetKey();
  showEntry(words);
}

function link(state, words) {
  byId("link").dataset.state = state;
  say(byId("link-words"), words);
}

/** Tells a change of the verdict in the title, and once to screen readers. */
function announce(verdict) {
  const sign = { bad: "✖ ", lost: "✖ ", warn: "▲ " }[verdict.level] ?? "";
  const title = `${sign}${verdict.headline} · Telewarden`;
  if (document.title !== title) document.title = title;
  if (told === verdict.key) return;
  told = verdict.key;
  say(byId("announcer"), `${verdict.headline}. ${verdict.level === "good" ? "" : verdict.detail}`);
}

function unlessLost(act) {
  if (isLost) note("There is no connection, so nothing was done.", "bad");
  else act();
}

byId("entry-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = byId("key").value.trim();
  if (key === "") return;
  if (/[^\x21-\x7e]/.test(key)) {
    showEntry("A key has no spaces and no special characters. Check that it was pasted whole and alone.");
    return;
  }
  say(byId("entry-error"), "");
  connect(key, true);
});
byId("leave").addEventListener("click", () => {
  forgetKey();
  showEntry("");
});
byId("warm").addEventListener("click", () => unlessLost(() => actions.warm()));
byId("sync").addEventListener("click", () => unlessLost(() => actions.sync()));
offer(document.querySelectorAll("#theme input"));
setInterval(renewAll, 1000);

const kept = keptKey();
if (kept === null) showEntry("");
else connect(kept, false);
