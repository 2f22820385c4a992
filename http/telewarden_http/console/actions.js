/** What an operator may do from here: each is asked back, done over the API, and told in words. */
import { send } from "./api.js";
import { confirmed } from "./confirm.js";
import { duration, foreign } from "./format.js";
import { note } from "./outcomes.js";
import { channelName } from "./tables.js";

const MEANWHILE = {
  listener: "No new messages come in until it is connected again; what is posted meanwhile is read afterwards.",
  writer: "New messages wait in the journal until it runs again; polls go on.",
  redis: "Polls are answered by the database until the cache is proven again.",
  warmer: "A cache that is lost meanwhile is filled a little later; polls go on.",
};

/** The actions. key(): the operator's key. jobs: where a started job is followed. */
export class Actions {
  constructor(key, jobs) {
    this.key = key;
    this.jobs = jobs;
  }

  /** Restart one worker. */
  async restart(worker) {
    const name = foreign(worker.name, 80);
    const words = `It is stopped in order and started again. ${MEANWHILE[worker.name] ?? "The other workers go on."}`;
    if (!(await confirmed({ title: `Restart ${name}?`, words, yes: `Restart ${name}` }))) return;
    const tell = note(`Restarting ${name} …`);
    const answer = await send("POST", `v1/admin/workers/${encodeURIComponent(worker.name)}/restart`, this.key());
    if (answer.ok) tell("good", `${name} is ready again, after ${duration(answer.body.readyAfterS)}.`);
    else tell("bad", `${name} was not restarted. ${foreign(answer.words)}`);
  }

  /** Pause a channel that is active, resume one that is not. */
  async turn(channel) {
    const name = channelName(channel);
    const pause = channel.active;
    const words = pause
      ? "New messages of this channel are not taken in until it is resumed; Telegram keeps them. Those that came before " +
        "stay served."
      : "It is taken in again, from where it was left.";
    const title = pause ? `Pause ${name}?` : `Resume ${name}?`;
    if (!(await confirmed({ title, words, yes: pause ? "Pause the channel" : "Resume the channel" }))) return;
    const tell = note(`${pause ? "Pausing" : "Resuming"} ${name} …`);
    const path = `v1/admin/channels/${encodeURIComponent(channel.channel)}`;
    const answer = await send("PATCH", path, this.key(), { active: !pause });
    if (answer.ok) tell("good", pause ? `${name} is paused.` : `${name} is taken in again.`);
    else tell("bad", `${name} was not ${pause ? "paused" : "resumed"}. ${foreign(answer.words)}`);
  }

  /** Fill the cache anew. */
  async warm() {
    const words = "The cache is filled anew from the database, which answers polls until that is done.";
    if (!(await confirmed({ title: "Warm the cache?", words, yes: "Warm the cache" }))) return;
    await this.#job("warm", "Warming the cache");
  }

  /** Read Telegram's newest messages again, in every channel. */
  async sync() {
    const words = "Telegram is asked for the newest messages of every channel; what is missing is taken in, nothing twice.";
    if (!(await confirmed({ title: "Sync all channels?", words, yes: "Sync all channels" }))) return;
    await this.#job("sync", "Syncing all channels");
  }

  async #job(kind, doing) {
    const tell = note(`${doing} …`);
    const answer = await send("POST", "v1/admin/jobs", this.key(), { kind });
    if (answer.ok) this.jobs.follow(answer.body, tell, doing);
    else tell("bad", `${doing} was not begun. ${foreign(answer.words)}`);
  }
}
