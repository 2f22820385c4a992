/** The way of a message, station by station: pure, an overview in, words and figures out. */
import { bytes, count, duration, figure, foreign, many, milliseconds, percent } from "./format.js";
import { perMinute } from "./verdict.js";

/**
 * The stations in their order. Each: `name`; `state` (good, wait, warn, bad) and its `word`; `figure` with its `unit`;
 * `more`, lines; `sample`, what the sparkline gets, and `least`, what its full height means at least.
 * storedPerMinute: changes that reached the database, as the page saw it; null if it cannot tell yet.
 */
export function stations(overview, storedPerMinute) {
  return [
    telegram(overview),
    journal(overview),
    database(overview, storedPerMinute),
    cache(overview),
    served(overview),
  ].filter((station) => station !== null);
}

function telegram({ telegram: view, rates, latency }) {
  if (view === null) return null;
  const isTroubled = view.problem !== null && view.connected;
  const more = [isTroubled ? foreign(view.problem, 160) : `${many(view.watched, "channel")} watched`];
  more.push(latency.post === null
    ? "no new post in the last minute"
    : `in the journal after ${milliseconds(latency.post.p50Ms)}, p95\u00a0${milliseconds(latency.post.p95Ms)}`);
  return {
    name: "Telegram",
    ...telegramState(view),
    figure: perMinute(rates.received),
    unit: "come in a minute",
    more,
    sample: rates.received.tenSeconds * 60,
    least: 6,
  };
}

function telegramState(view) {
  if (!view.sessionLoaded) return { state: "bad", word: "no session" };
  if (!view.connected) return { state: "bad", word: "not connected" };
  if (view.problem !== null) return { state: "warn", word: "connected, with a problem" };
  return view.caughtUp ? { state: "good", word: "caught up" } : { state: "wait", word: "catching up" };
}

function journal({ journal: view }) {
  if (view === null) return null;
  let standing = { state: "good", word: "takes in" };
  if (view.isFull) standing = { state: "bad", word: "full: intake waits" };
  else if (view.poison > 0) standing = { state: "warn", word: `${count(view.poison)} refused` };
  return {
    name: "Journal",
    ...standing,
    figure: count(view.backlogEvents),
    unit: "to be stored",
    more: [
      view.backlogEvents === 0
        ? "nothing waits"
        : `${bytes(view.backlogBytes)}, oldest for ${duration(view.oldestWaitingS)}`,
      view.roomBytes === null ? "room not known" : `room for ${bytes(view.roomBytes)}`,
    ],
    sample: view.backlogEvents,
    least: 10,
  };
}

function database({ database: view, journal: before }, storedPerMinute) {
  return {
    name: "Database",
    state: view.up ? "good" : "bad",
    word: view.up ? "answers" : "down",
    figure: before === null ? (view.up ? "up" : "down") : figure(storedPerMinute === null ? NaN : storedPerMinute),
    unit: before === null ? "" : "stored a minute",
    more: [
      view.up ? "takes all that it is given" : foreign(view.problem ?? "it does not answer", 160),
      before === null ? "" : `stored up to ${count(Number(before.flushed))}`,
    ],
    sample: before === null ? null : storedPerMinute,
    least: 6,
  };
}

function cache({ cache: view }) {
  if (view === null) return null;
  const hits = view.hitRate === null ? "no poll yet" : `answered ${percent(view.hitRate)} of all polls`;
  const more = view.lagEvents === null ? [] : [hits];
  const filling = view.warm !== null;
  if (filling) {
    more.push(`filling: ${count(view.warm.written)} of about ${count(view.warm.total)}, ${foreign(view.warm.step)}`);
  } else if (!view.trusted) {
    more.push(foreign(view.reason ?? "not proven complete", 160));
  } else {
    more.push(view.lagS >= 0.05 ? `proven complete, ${duration(view.lagS)} behind` : "proven complete");
  }
  return {
    name: "Cache",
    state: view.trusted ? "good" : "warn",
    word: view.trusted ? "answers polls" : filling ? "is being filled" : "not in use",
    figure: view.lagEvents === null ? percent(view.hitRate) : count(view.lagEvents),
    unit: view.lagEvents === null ? "of all polls" : "changes behind",
    more,
    sample: view.lagEvents,
    least: 10,
  };
}

function served({ rates, latency, health }) {
  return {
    name: "Consumers",
    state: health.ready ? "good" : "bad",
    word: health.ready ? "are served" : "are not served right",
    figure: perMinute(rates.polls),
    unit: "polls a minute",
    more: [
      latency.poll === null
        ? "no poll in the last minute"
        : `answered in ${milliseconds(latency.poll.p50Ms)}, p95\u00a0${milliseconds(latency.poll.p95Ms)}`,
      `${perMinute(rates.acknowledged)} acknowledged a minute`,
    ],
    sample: rates.polls.tenSeconds * 60,
    least: 6,
  };
}
