/** Jobs: the newest ones, and how far those that run are. Asked for only while one runs. */
import { send } from "./api.js";
import { byId, list, make, say, set } from "./dom.js";
import { count, foreign } from "./format.js";
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
    for (const job of answer.ok ? (answer.body?.jobs ?? []) : []) this.#jobs.set(job.id, job);
    this.#show();
    this.#goOn();
  }

  /** Follows a job that was just started to its end, and tells that. tell(state, words); doing: what it is called. */
  follow(job, tell, doing) {
    this.#jobs.set(job.id, job);
    this.#waiting.set(job.id, { tell, doing });
    this.#show();
    this.#goOn();
  }

  #goOn() {
    clearTimeout(this.#timer);
    if ([...this.#jobs.values()].some(isRunning)) this.#timer = setTimeout(() => this.#look(), LOOK_MS);
  }

  async #look() {
    for (const job of [...this.#jobs.values()].filter(isRunning)) {
      const answer = await send("GET", `v1/admin/jobs/${encodeURIComponent(job.id)}`, this.key());
      if (answer.ok) this.#jobs.set(job.id, answer.body);
      else if (/no job|not know/i.test(answer.words)) this.#jobs.set(job.id, { ...job, state: "forgotten" });
      this.#tell(this.#jobs.get(job.id), answer);
    }
    this.#show();
    this.#goOn();
  }

  #tell(job) {
    const waiting = this.#waiting.get(job.id);
    if (waiting === undefined) return;
    if (isRunning(job)) {
      waiting.tell("wait", `${waiting.doing}: ${progress(job)}`);
      return;
    }
    this.#waiting.delete(job.id);
    waiting.tell(markOf(job), `${waiting.doing}: ${outcome(job)}`);
  }

  #show() {
    const jobs = [...this.#jobs.values()].slice(-SHOWN).reverse();
    if (jobs.length === 0) {
      list(byId("jobs"), ["None."], () => "(nothing)", () => make("li", { class: "empty" }), (element, words) => say(element, words));
      return;
    }
    list(byId("jobs"), jobs, (job) => job.id,
      () => make("li", {},
        make("span", { class: "state" }, make("span", { class: "mark", "aria-hidden": "true" }), make("span")),
        make("time", { class: "quiet" })),
      (element, job) => {
        const [state, time] = element.children;
        set(state, "data-state", markOf(job));
        say(state.lastElementChild, `${foreign(job.kind)}: ${isRunning(job) ? progress(job) : outcome(job)}`);
        tellTime(time, job.startedAt ?? job.createdAt, "");
      });
  }
}

function isRunning(job) {
  return job.state === "running";
}

function markOf(job) {
  return { running: "wait", done: "good", failed: "bad" }[job.state] ?? "off";
}

function progress(job) {
  return flat(job.progress) || "begun";
}

function outcome(job) {
  const words = [flat(job.result), job.error && foreign(job.error)].filter(Boolean).join("; ");
  return words === "" ? job.state : `${job.state}: ${words}`;
}

/** Figures of a job in one line. */
function flat(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return count(value);
  if (typeof value === "string") return foreign(value, 300);
  if (Array.isArray(value)) return `${value.length}`;
  return Object.entries(value)
    .filter(([, each]) => ["number", "string", "boolean"].includes(typeof each))
    .map(([name, each]) => `${name.replace(/([A-Z])/g, " $1").toLowerCase()} ${typeof each === "number" ? count(each) : foreign(String(each), 120)}`)
    .join(", ");
}
