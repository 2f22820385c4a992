/** The tables of channels and of consumers. */
import { byId, list, make, mark, say, set, unseen } from "./dom.js";
import { count, foreign, many, milliseconds } from "./format.js";
import { tell } from "./times.js";

/** Shows channels, and offers to pause and resume one. ask(channel): called when its button is pressed. */
export class ChannelsPart {
  #channels = [];

  constructor(ask) {
    this.ask = ask;
  }

  show({ channels }) {
    this.#channels = channels;
    const body = byId("channels");
    if (channels.length === 0) {
      nothing(body, 4, "No channel is taken in. Add one: telewarden channels add @name");
      return;
    }
    list(body, channels, (channel) => channel.channel,
      (channel) => this.#create(channel.channel), (row, channel) => updateChannel(row, channel));
  }

  #create(id) {
    const button = make("button", { type: "button", "data-channel": id }, make("span"), unseen());
    button.addEventListener("click", () => this.ask(this.#channels.find((channel) => channel.channel === id)));
    return make("tr", {},
      make("th", { scope: "row" }, make("span", { class: "cell" },
        make("span", { class: "state" }, mark(), make("bdi", { class: "line" })),
        make("span", { class: "line second" }, make("span"), make("span", { class: "ident" })))),
      make("td", { class: "number" }, make("span", { class: "cell" }, make("span"), make("span", { class: "second" }))),
      make("td", { class: "number" }, make("span", { class: "cell" }, make("time"), make("span", { class: "second" }))),
      make("td", {}, button));
  }
}

/** What a channel is called. */
export function channelName({ label, title, name, channel }) {
  return foreign(label || title || (name && `@${name}`) || channel, 120);
}

/** The mark of how a channel is. */
export function standingOf({ active, state }) {
  if (!active) return "off";
  if (state === "taken in" || state === "served here") return "good";
  return state.startsWith("closed") ? "warn" : "wait";
}

function updateChannel(row, channel) {
  const [who, waiting, last, action] = row.children;
  const [state, more] = who.firstElementChild.children;
  const standing = standingOf(channel);
  // Ids, of which many may never have been messages: they mean something only while the channel is being read.
  const behind = standing === "wait" ? (channel.behind ?? 0) : 0;
  set(state, "data-state", standing);
  say(state.lastElementChild, channelName(channel));
  set(state.lastElementChild, "title", channelName(channel));
  say(more.firstElementChild, foreign(channel.state));
  const known = channel.name === "" ? [channel.channel] : [`@${foreign(channel.name)}`, channel.channel];
  say(more.lastElementChild, known.map((each) => ` · ${each}`).join(""));
  const [, tail] = waiting.firstElementChild.children;
  say(waiting.firstElementChild.firstElementChild, count(channel.waiting));
  say(tail, behind > 0 ? `${count(behind)} ids to read` : "");
  const [time, lag] = last.firstElementChild.children;
  tell(time, channel.lastMessageAt, "none yet");
  say(lag, channel.lagMs === null ? "" : `after ${milliseconds(channel.lagMs)}`);
  const [words, whom] = action.firstElementChild.children;
  say(words, channel.active ? "Pause" : "Resume");
  say(whom, ` ${channelName(channel)}`);
}

/** Shows consumers. */
export function showConsumers({ consumers }) {
  const body = byId("consumers");
  if (consumers === null) {
    nothing(body, 5, "Not known while the database does not answer.");
    return;
  }
  if (consumers.length === 0) {
    nothing(body, 5, "None yet: a consumer appears here with its first GET /v1/messages.");
    return;
  }
  list(body, consumers, (consumer) => consumer.name,
    () => make("tr", {},
      make("th", { scope: "row" }, make("span", { class: "cell" }, make("bdi", { class: "line" }))),
      make("td", { class: "number" }, make("span", { class: "cell" }, make("span"), make("span", { class: "second" }))),
      make("td", { class: "number" }),
      make("td", { class: "number" }, make("span", { class: "state" }, mark(), make("span", { class: "state-word" }))),
      make("td", { class: "number" }, make("time"))),
    (row, consumer) => {
      const [who, waiting, leased, dead, oldest] = row.children;
      say(who.firstElementChild.firstElementChild, foreign(consumer.name, 120));
      const [total, delayed] = waiting.firstElementChild.children;
      say(total, `${consumer.isExact ? "" : "≥ "}${count(consumer.waiting)}`);
      say(delayed, consumer.delayed > 0 ? `${count(consumer.delayed)} delayed` : "");
      say(leased, count(consumer.leased));
      const [state] = dead.children;
      set(state, "data-state", consumer.dead > 0 ? "warn" : "none");
      state.firstElementChild.hidden = consumer.dead === 0;
      say(state.lastElementChild, count(consumer.dead));
      set(state.lastElementChild, "title", consumer.dead > 0 ? many(consumer.dead, "dead letter") : null);
      tell(oldest.firstElementChild, consumer.oldestWaitingAt, "none");
    });
}

/** One row that says why there are none. */
function nothing(body, columns, words) {
  list(body, [words], () => "(nothing)",
    () => make("tr", { class: "none" }, make("td", { colspan: columns })),
    (row) => say(row.firstElementChild, words));
}
