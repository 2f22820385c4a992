/** Figures, times and foreign texts as people read them. A figure and its unit stay on one line. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const NOTHING = "–";

/** "12,345"; a dash for what is not known. */
export function count(value) {
  return known(value) ? whole.format(value) : NOTHING;
}

/** A rate or another figure that may be small: "0", "0.4", "3.2", "120". */
export function figure(value) {
  if (!known(value)) return NOTHING;
  if (value === 0) return "0";
  if (Math.abs(value) < 0.05) return "<0.1";
  return Math.abs(value) < 9.95 ? tenths.format(value) : whole.format(value);
}

/** A share of one as "99.8 %"; never rounded up to all, nor down to none. */
export function percent(value) {
  if (!known(value)) return NOTHING;
  if (value === 0 || value === 1) return `${value * 100}\u00a0%`;
  return `${tenths.format(Math.min(99.9, Math.max(0.1, value * 100)))}\u00a0%`;
}

/** "3 channels", "1 channel". */
export function many(value, one, more = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : more}`;
}

/** Milliseconds as "0.4 ms", "18 ms", "1.2 s". */
export function milliseconds(value) {
  if (!known(value)) return NOTHING;
  if (value < 9.95) return `${tenths.format(value)}\u00a0ms`;
  return value < 999.5 ? `${whole.format(value)}\u00a0ms` : duration(value / 1000);
}

/** Seconds as "0.4 s", "41 s", "3 min 12 s", "2 h 5 min", "3 d 4 h". */
export function duration(value) {
  if (!known(value)) return NOTHING;
  if (value < 9.95) return value < 0.05 ? "0\u00a0s" : `${tenths.format(value)}\u00a0s`;
  const s = Math.round(value);
  if (s < 60) return `${s}\u00a0s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  const min = Math.floor(s / 60);
  if (min < 1440) return two(Math.floor(min / 60), "h", min % 60, "min");
  const h = Math.floor(min / 60);
  return two(Math.floor(h / 24), "d", h % 24, "h");
}

function two(large, largeUnit, small, smallUnit) {
  return small === 0 ? `${large}\u00a0${largeUnit}` : `${large}\u00a0${largeUnit}\u00a0${small}\u00a0${smallUnit}`;
}

/** Bytes as "812 B", "4.2 KiB", "1.3 GiB". */
export function bytes(value) {
  if (!known(value)) return NOTHING;
  let unit = 0;
  while (value >= 1023.5 && unit < 4) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(value) : figure(value)}\u00a0${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

/** How long ago, coarse: "now", "12 s ago", "4 min ago", "3 h ago", "2 d ago". Milliseconds. */
export function ago(ms) {
  const s = Math.floor(ms / 1000);
  if (s < -1) return `in ${coarse(-s)}`;
  return s < 2 ? "now" : `${coarse(s)} ago`;
}

function coarse(s) {
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

/** A moment in full, in the viewer's time and in UTC. */
export function absolute(ms) {
  const at = new Date(ms);
  return `${moment.format(at)} (${at.toISOString().replace("T", " ")})`;
}

/** A moment of today, "03:12:07". */
export function timeOfDay(ms) {
  return clock.format(new Date(ms));
}

// Controls but for tab and line feed; what turns the direction of text round; what is not to be seen at all.
const hidden = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u061C\u200B\u200E\u200F\u2028-\u202E\u2060-\u2069\uFEFF]/g;

/**
 * A text of somebody else, fit to be shown: at most so many characters, and what hides or turns text made visible,
 * so that what is read is what is there.
 */
export function foreign(text, most = 600) {
  const shown = text.length > most ? `${text.slice(0, most).replace(/[\ud800-\udbff]$/, "")} …` : text;
  return shown.replace(hidden, (character) =>
    `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}
