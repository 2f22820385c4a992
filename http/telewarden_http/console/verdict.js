/** What the figures come to, in one sentence. Pure: an overview in, words out. */
import { count, duration, figure, foreign, many } from "./format.js";

const RANKS = ["telegram", "database", "redis", "intake", "worker", "channel"];

/** Level and words for one overview. level: good, wait, warn or bad. key: what has to change to be told anew. */
export function verdict(overview) {
  const { health, journal, telegram } = overview;
  if (!health.live) {
    const detail = "A part of it is stuck, or was given up. The log says which; a service manager starts a fresh process.";
    return worded("bad", "The daemon needs a restart", detail);
  }
  if (!health.ready) {
    const detail = "Neither a proven cache nor the database answers, or the API does not listen.";
    return worded("bad", "Polls cannot be answered right", detail);
  }
  if (health.degraded.length > 0) {
    const [first, ...others] = worstFirst(health.degraded);
    const headline = others.length === 0 ? named(first.what) : `${named(first.what)}, and ${count(others.length)} more`;
    return worded("warn", headline, "Polls are still answered right. What is covered, and how, stands below.");
  }
  const unsettled = overview.workers.filter((worker) => worker.state !== "running" && worker.state !== "finished");
  if (unsettled.length > 0) {
    const names = unsettled.map((worker) => worker.name).join(", ");
    return worded("wait", "Parts are starting", `Not running yet: ${names}.`);
  }
  if (telegram !== null && !telegram.caughtUp) {
    return worded("wait", "Catching up with Telegram", "Connected; the channels are being read to their ends.");
  }
  return { ...worded("good", "All is well", calm(overview)), key: "good All is well" };

  function calm({ rates }) {
    const incoming = rates.received === null
      ? `${perMinute(rates.polls)} polls a minute are answered`
      : `${perMinute(rates.received)} messages a minute come in`;
    if (journal === null) return `${incoming}.`;
    return journal.backlogEvents === 0
      ? `${incoming}; all of it is in the database.`
      : `${incoming}; ${many(journal.backlogEvents, "change")} on the way into the database.`;
  }
}

function worded(level, headline, detail) {
  return { level, headline, detail, key: `${level} ${headline}` };
}

/** A rate over the last minute, as a figure a minute. */
export function perMinute(rate) {
  const value = rate.minute * 60;
  return value > 0 && value < 0.95 ? figure(value) : count(Math.round(value));
}

/** Degraded parts, those first that much depends on; else in the order in which they were told. */
export function worstFirst(degraded) {
  const rank = ({ what }) => RANKS.indexOf(what.split(" ")[0]);
  return [...degraded].sort((one, other) => rank(one) - rank(other));
}

/** What is down, as a sentence. */
export function named(what) {
  const [kind, ...rest] = what.split(" ");
  const name = foreign(rest.join(" "));
  switch (kind) {
    case "database":
      return "The database is down";
    case "redis":
      return "The cache is not in use";
    case "telegram":
      return "Telegram is not connected";
    case "intake":
      return "Intake has a problem";
    case "channel":
      return `Channel ${name} is not taken in`;
    case "worker":
      return `The worker ${name} is down`;
    default:
      return `${foreign(what)} is degraded`;
  }
}

/** What was told of a degraded part, as effect and cause. */
export function effectAndCause({ what, effect }) {
  const [before, ...after] = what === "intake" ? [effect] : effect.split(": ");
  return { effect: sentence(before), cause: foreign(after.join(": ")) };
}

function sentence(text) {
  const shown = foreign(text);
  return shown.charAt(0).toUpperCase() + shown.slice(1);
}

/** What nobody has to get up for, but somebody should look at: `{what, since, effect, cause}` each. */
export function notices(overview) {
  const found = [];
  const { journal, telegram, consumers } = overview;
  if (journal !== null && journal.poison > 0) {
    found.push({
      what: `${many(journal.poison, "event")} refused by the database`,
      effect: "They were set aside; all others go on. Look at them with: telewarden poison list",
    });
  }
  for (const text of journal?.salvage ?? []) {
    found.push({ what: "The journal was damaged", effect: sentence(text) });
  }
  for (const wait of telegram?.floodWaits ?? []) {
    const about = wait.channel === null ? "the account" : `channel ${wait.channel}`;
    found.push({
      what: "Telegram asks to wait",
      effect: `${foreign(wait.method)} for ${about}: ${duration(wait.seconds)} more. It is obeyed; messages come later.`,
    });
  }
  for (const consumer of consumers ?? []) {
    if (consumer.dead > 0) {
      found.push({
        what: many(consumer.dead, "dead letter"),
        effect: `${foreign(consumer.name)} got them too often without acknowledging; they are not served any more.`,
      });
    }
  }
  return found.map((notice) => ({ since: null, cause: "", ...notice }));
}
