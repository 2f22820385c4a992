/** Journal, cache and Telegram in figures. */
import { byId, list, make, say } from "./dom.js";
import { bytes, count, duration, figure, foreign, many } from "./format.js";

/** Shows them. */
export function showStores(overview) {
  list(byId("stores"), figures(overview), ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (element, [, value]) => say(element.lastElementChild, value));
}

/** Names and values, in their order. */
export function figures({ journal, cache, telegram }) {
  const found = [];
  if (journal !== null) {
    found.push(
      ["Journal, newest position", count(Number(journal.head))],
      ["In the database up to", count(Number(journal.flushed))],
      ["Size of what waits", bytes(journal.backlogBytes)],
      ["Room in the journal", bytes(journal.roomBytes)],
      ["Refused by the database", count(journal.poison)],
    );
  }
  if (cache === null) {
    found.push(["Cache", "none is set up"]);
  } else {
    found.push(
      ["Cache server", foreign(cache.server ?? "does not answer", 80)],
      ["Times it was filled", count(cache.warms)],
      ["Polls answered by", parts(cache.polls)],
    );
    if (Object.keys(cache.reasons).length > 0) found.push(["Not by the cache because", parts(cache.reasons)]);
  }
  if (telegram !== null) {
    found.push(
      ["Connections to Telegram lost", count(telegram.reconnects)],
      ["Asked for changes", `${many(telegram.watched, "channel")}, each ${figure(telegram.watchIntervalS)} s`],
    );
  }
  return found;
}

function parts(counts) {
  const words = Object.entries(counts).filter(([, value]) => value > 0).map(([name, value]) => `${foreign(name, 60)} ${count(value)}`);
  return words.length > 0 ? words.join(", ") : "none yet";
}
