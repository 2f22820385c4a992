/** The step between a button and what it does. */
import { byId, say } from "./dom.js";

/** Asks; true if the answer is yes. Escape, and closing, mean no. */
export function confirmed({ title, words, yes }) {
  const dialog = byId("confirm");
  say(byId("confirm-title"), title);
  say(byId("confirm-words"), words);
  say(byId("confirm-yes"), yes);
  return new Promise((resolve) => {
    const end = new AbortController();
    const answer = (value) => {
      end.abort();
      resolve(value);
      if (dialog.open) dialog.close();
    };
    byId("confirm-yes").addEventListener("click", () => answer(true), { signal: end.signal });
    byId("confirm-no").addEventListener("click", () => answer(false), { signal: end.signal });
    dialog.addEventListener("close", () => answer(false), { signal: end.signal });
    dialog.showModal();
    byId("confirm-no").focus();
  });
}
