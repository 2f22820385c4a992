/** One stream of server-sent events that comes back by itself, and says plainly when it is not there. */
import { EventParser } from "./sse.js";
import { refusal } from "./api.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const SILENCE_MS = 5_000;
const CONNECT_MS = 10_000;

/** How long to wait before the next try. failures: tries in a row that failed, 1 or more; random: 0 to 1. */
export function pauseMs(failures, random) {
  const full = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
  return full * (0.5 + random / 2);
}

/**
 * Reads `url` with this key until `signal` aborts, connecting anew as often as need be.
 *
 * told: `event(event)` for each; `lost(words)` when the connection is not there (again) and why;
 * `refused(words)` when the key does not do, after which nothing more is tried.
 * The server speaks once a second: silence of some seconds is a broken connection, too.
 */
export async function follow(url, key, signal, told) {
  let failures = 0;
  while (!signal.aborted) {
    let words = "the stream ended";
    let asked = 0;
    try {
      const outcome = await readOnce(url, key, signal, (event) => {
        show(told, event);
        failures = 0;
      });
      if (outcome.refused) {
        told.refused(outcome.refused);
        return;
      }
      words = outcome.words ?? words;
      asked = outcome.afterMs ?? 0;
    } catch (error) {
      words = error instanceof Trouble ? error.message : "the server cannot be reached";
    }
    if (signal.aborted) return;
    failures += 1;
    told.lost(words);
    await pause(Math.max(asked, pauseMs(failures, Math.random())), signal);
  }
}

/** Why there is no stream, in words for people. */
class Trouble extends Error {}

function show(told, event) {
  try {
    told.event(event);
  } catch (error) {
    reportError(error);
    throw new Trouble("this page cannot show what the server sends; load it anew");
  }
}

async function readOnce(url, key, signal, onEvent) {
  const end = new AbortController();
  const stop = () => end.abort();
  signal.addEventListener("abort", stop);
  let silence = null;
  let timer = 0;
  const expect = (ms, words) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      silence = new Trouble(words);
      end.abort();
    }, ms);
  };
  try {
    expect(CONNECT_MS, "the server does not answer");
    const response = await fetch(url, {
      headers: { Authorization: `Bearer ${key}`, Accept: "text/event-stream" },
      cache: "no-store",
      credentials: "omit",
      signal: end.signal,
    });
    if (!response.ok) return await why(response);
    const parser = new EventParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    expect(SILENCE_MS, "the server has gone silent");
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return {};
      const events = parser.push(value);
      if (events.length > 0) expect(SILENCE_MS, "the server has gone silent");
      events.forEach(onEvent);
    }
  } catch (error) {
    throw silence ?? error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    end.abort();
  }
}

async function why(response) {
  const words = await refusal(response);
  if (response.status === 401 || response.status === 403) return { refused: words };
  const after = Number(response.headers.get("Retry-After"));
  return { words, afterMs: after > 0 ? after * 1000 : 0 };
}

/** Resolves after so long, at once when the network comes back, or when `signal` aborts. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(over, ms);
    function over() {
      clearTimeout(timer);
      removeEventListener("online", over);
      signal.removeEventListener("abort", over);
      resolve();
    }
    addEventListener("online", over);
    signal.addEventListener("abort", over);
  });
}
