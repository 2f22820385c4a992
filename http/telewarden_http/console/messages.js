/** The newest messages. What Telegram sent is text, and stays text: no markup, no links. */
import { byId, list, make, nothing, say, set } from "./dom.js";
import { absolute, foreign } from "./format.js";
import { tell } from "./times.js";

let begun = false;

/** Shows the newest messages, newest first. */
export function showMessages({ messages }) {
  const place = byId("messages");
  if (messages === null || messages.length === 0) {
    const none = "None yet. A post appears here as soon as it is stored.";
    nothing(place, messages === null ? "Not known while the database does not answer." : none);
    begun = begun || messages !== null;
    return;
  }
  list(place, messages, (message) => `${message.channel} ${message.messageId}`, create, update);
  begun = true;
}

function create() {
  const text = make("p", { class: "message-text", dir: "auto" });
  return make("li", { class: begun ? "fresh" : null },
    make("p", { class: "message-head" },
      make("bdi", { class: "from" }), make("span", { class: "number-of" }), make("span", { class: "tag" }), make("time")),
    text);
}

function update(element, message) {
  const [head, text] = element.children;
  const [from, number, tag, time] = head.children;
  say(from, foreign(message.label || message.channel, 80));
  set(from, "title", message.channel);
  say(number, `#${message.messageId}`);
  const media = message.mediaType && foreign(message.mediaType, 30);
  const tags = [message.deleted && "deleted", message.edited && "edited", media];
  const words = tags.filter(Boolean).join(", ");
  say(tag, words);
  tag.hidden = words === "";
  tell(time, message.receivedAt);
  if (message.telegramDate) {
    const [came, posted] = [message.receivedAt, message.telegramDate].map((at) => absolute(Date.parse(at)));
    set(time, "title", `taken in ${came}\nposted ${posted}`);
  }
  set(text, "class", message.deleted ? "message-text gone" : "message-text");
  const shown = foreign(message.text, 400);
  say(text, message.isCut && !shown.endsWith("…") ? `${shown} …` : shown);
  text.hidden = shown === "";
}
