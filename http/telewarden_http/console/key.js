/** The operator's key: for this tab, until it is closed or the key is forgotten. Nowhere else. */
const NAME = "telewarden-key";

/** The kept key, or null. */
export function keptKey() {
  return sessionStorage.getItem(NAME);
}

/** Keeps it. */
export function keepKey(key) {
  sessionStorage.setItem(NAME, key);
}

/** Forgets it. */
export function forgetKey() {
  sessionStorage.removeItem(NAME);
}
