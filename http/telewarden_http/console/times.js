/** Moments that are told as "12 s ago", go on by themselves, and say when exactly to whoever points at them. */
import { absolute, ago } from "./format.js";
import { say, set } from "./dom.js";

let ahead = 0;

/** The server's clock, as it last told it (ISO 8601): what is "ago" goes by that one. */
export function serverSays(at) {
  ahead = Date.parse(at) - Date.now();
}

/** The server's time now, in milliseconds. */
export function now() {
  return Date.now() + ahead;
}

/** Has a `time` element tell this moment (ISO 8601); `otherwise` where there is none. */
export function tell(element, at, otherwise = "never") {
  if (!at) {
    set(element, "datetime", null);
    set(element, "title", null);
    say(element, otherwise);
  } else if (element.getAttribute("datetime") !== at) {
    element.setAttribute("datetime", at);
    set(element, "title", absolute(Date.parse(at)));
    renew(element);
  }
}

function renew(element) {
  say(element, ago(now() - Date.parse(element.dateTime)));
}

/** Brings every moment of the page up to date. */
export function renewAll() {
  for (const element of document.querySelectorAll("time[datetime]")) renew(element);
}
