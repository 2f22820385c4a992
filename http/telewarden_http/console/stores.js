/** Journal, cache and Telegram in figures. */
import { byId, list, make, say } from "./dom.js";
import { NOTHING, bytes, count, duration, figure, foreign, many } from "./format.js";

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
      ["Newest position", count(Number(journal.head))],
      ["Stored up to", count(Number(journal.flushed))],
      ["To be stored", bytes(journal.backlogBytes)],
      ["Journal’s room", bytes(journal.roomBytes)],
      ["Refused events", count(journal.poison)],
    );
  }
  if (cache === null) {
    found.push(["Cache", "none is set up"]);
  } else {
    found.push(
      ["Cache server", foreign(cache.server ?? "does not answer", 80)],
      ["Cache filled", times(cache.warms)],
      ["Polls answered by", parts(cache.polls)],
    );
    if (Object.keys(cache.reasons).length > 0) found.push(["Not by the cache", parts(cache.reasons)]);
  }
  if (telegram !== null) {
    found.push(
      ["Telegram lost", times(telegram.reconnects)],
      ["Telegram asked", `${many(telegram.watched, "channel")}, each ${figure(telegram.watchIntervalS)} s`],
    );
  }
  return found;
}

function times(value) {
  return value === null ? NOTHING : value === 1 ? "once" : many(value, "time");
}

function parts(counts) {
  const words = Object.entries(counts)
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${foreign(name, 60)} ${count(value)}`);
  return words.length > 0 ? words.join(", ") : "none yet";
}
