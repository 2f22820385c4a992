/** Jobs: the newest ones, and how far those that run are. Asked for only while one runs. */
import { send } from "./api.js";
import { byId, list, make, mark, nothing, say, set } from "./dom.js";
import { count, duration, foreign, many } from "./format.js";
import { tell as tellTime } from "./times.js";

const LOOK_MS = 700;
const SHOWN = 5;

/** Follows jobs. key(): the operator's key. */
export class JobsPart {
  #jobs = new Map();
  #waiting = new Map();
  #timer = 0;

  constructor(key) {
    this.key = key;
  }

  /** Asks which there are, once. */
  async begin() {
    const answer = await send("GET", "v1/admin/jobs", this.key());
    if (answer.ok) {
      this.#jobs = new Map(answer.body.jobs.map((job) => [job.id, job]));
      for (const job of this.#jobs.values()) this.#tell(job);
      this.#forget();
    }
    this.#show();
    this.#goOn();
  }

  /** Asks for nothing any more, and forgets all of it. */
  end() {
    clearTimeout(this.#timer);
    this.#jobs.clear();
    this.#waiting.clear();
  }

  /** Follows a job that was just started to its end, and tells that. tell(state, words); doing: what it is called. */
  follow(job, tell, doing) {
    this.#jobs.set(job.id, job);
    this.#waiting.set(job.id, { tell, doing });
    this.#show();
    this.#goOn();
  }

  /** A daemon that was started anew knows nothing of earlier jobs. */
  #forget() {
    for (const [id, { tell, doing }] of this.#waiting) {
      if (this.#jobs.has(id)) continue;
      tell("bad", `${doing}: the daemon was started anew, and the job with it ended. What it did so far stays.`);
      this.#waiting.delete(id);
    }
  }

  #goOn() {
    clearTimeout(this.#timer);
    if ([...this.#jobs.values()].some(isUnderway)) this.#timer = setTimeout(() => this.#look(), LOOK_MS);
  }

  async #look() {
    for (const job of [...this.#jobs.values()].filter(isUnderway)) {
      const answer = await send("GET", `v1/admin/jobs/${encodeURIComponent(job.id)}`, this.key());
      if (answer.ok) this.#jobs.set(job.id, answer.body);
      else if (answer.status === 404) this.#jobs.delete(job.id);
      if (answer.ok) this.#tell(answer.body);
    }
    this.#forget();
    this.#show();
    this.#goOn();
  }

  #tell(job) {
    const waiting = this.#waiting.get(job.id);
    if (waiting === undefined) return;
    if (isUnderway(job)) {
      waiting.tell("wait", `${waiting.doing}: ${progress(job)}`);
      return;
    }
    this.#waiting.delete(job.id);
    waiting.tell(markOf(job), `${waiting.doing}: ${outcome(job)}`);
  }

  #show() {
    const jobs = [...this.#jobs.values()].sort((one, other) => other.createdAt.localeCompare(one.createdAt)).slice(0, SHOWN);
    if (jobs.length === 0) {
      nothing(byId("jobs"), "None since the daemon was started.");
      return;
    }
    list(byId("jobs"), jobs, (job) => job.id,
      () => make("li", {},
        make("span", { class: "state" }, mark(), make("span")),
        make("time", { class: "quiet" }),
        make("progress", { hidden: true })),
      (element, job) => {
        const [state, time, bar] = element.children;
        set(state, "data-state", markOf(job));
        const stands = isUnderway(job) ? progress(job) : outcome(job);
        say(state.lastElementChild, `${foreign(job.kind)} by ${foreign(job.by, 60)}: ${stands}`);
        tellTime(time, job.startedAt ?? job.createdAt, "");
        bar.hidden = !isUnderway(job) || !job.progress?.total;
        set(bar, "aria-label", `Progress of ${foreign(job.kind)}`);
        set(bar, "max", job.progress?.total || null);
        set(bar, "value", job.progress?.done ?? null);
      });
  }
}

function isUnderway(job) {
  return job.state === "queued" || job.state === "running";
}

function markOf(job) {
  return { queued: "wait", running: "wait", done: "good", failed: "bad" }[job.state] ?? "off";
}

/** How far a job is, in words. */
export function progress({ state, progress: at }) {
  if (at === null) return state;
  const far = at.total === null ? count(at.done) : `${count(at.done)} of ${count(at.total)}`;
  return at.text === "" ? far : `${far}, ${foreign(at.text, 160)}`;
}

/** What came of a job, in words. */
export function outcome({ state, result, error }) {
  const words = result === null ? "" : came(result);
  const why = error === null ? "" : foreign(error, 400);
  return [state, words, why].filter((each) => each !== "").join("; ");
}

function came(result) {
  switch (result.kind) {
    case "warm":
      return `${many(result.written, "message")} written in ${duration(result.tookS)}`;
    case "sync":
      return (
        `${many(result.read, "message")} read in ${many(result.channels.length, "channel")}, ` +
        `${count(result.saved)} of them new`
      );
    case "verify":
      return (
        `${many(result.compared, "message")} compared, ${count(result.different)} different, ` +
        `${count(result.repaired)} mended`
      );
    case "backfill":
      return `${many(result.posts, "post")} taken in`;
    default:
      return "";
  }
}
