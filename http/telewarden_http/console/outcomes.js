/** What came of the operator's actions, in words. Successes go after a minute; what went wrong stays until dismissed. */
import { byId, make, mark, say, set } from "./dom.js";

const MOST = 4;
const SUCCESS_MS = 60_000;

/** A note that begins with these words, as something under way unless said otherwise. Gives `change(state, words)`. */
export function note(words, begun = "wait") {
  const text = make("p", {}, words);
  const dismiss = make("button", { type: "button", "aria-label": "Dismiss" }, "×");
  const item = make("li", { "data-state": begun }, mark(), text, dismiss);
  dismiss.addEventListener("click", () => item.remove());
  const place = byId("outcomes");
  place.append(item);
  while (place.children.length > MOST) place.firstElementChild.remove();
  return (state, changed) => {
    set(item, "data-state", state);
    say(text, changed);
    if (state === "good") setTimeout(() => item.remove(), SUCCESS_MS);
  };
}
