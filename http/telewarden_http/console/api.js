/** Requests of the administration, and what their refusals mean in words. */

/** An address of the API, from where the page itself is: it works below a proxy's prefix, too. */
export function address(path) {
  return new URL(path, document.baseURI).href;
}

/** Why a request was refused, for people: what the server says, and what to do where that is known. */
export async function refusal(response) {
  let detail = "";
  try {
    const body = await response.json();
    detail = body.detail ?? body.message ?? "";
  } catch {
    // No JSON: somebody in between answered. The status says enough.
  }
  switch (response.status) {
    case 401:
    case 403:
      return /scope/.test(detail)
        ? "This key is known, but it is not an admin key. Paste a key with the scope “admin”."
        : "This key is not valid. Check that it was pasted whole, and that it has not expired or been revoked.";
    case 404:
      return detail || "The server does not know this; it may be an older version.";
    case 429:
      return detail || "Too many requests; it is tried again in a moment.";
    default:
      return detail || `The server answered ${response.status}.`;
  }
}

/** Asks for something to be done. Gives `{ok, status, body, words}`; words say why not. Never raises. */
export async function send(method, path, key, body) {
  const headers = { Authorization: `Bearer ${key}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(address(path), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(60_000),
    });
    if (!response.ok) return { ok: false, status: response.status, body: null, words: await refusal(response) };
    const text = await response.text();
    return { ok: true, status: response.status, body: text === "" ? null : JSON.parse(text), words: "" };
  } catch (error) {
    const late = error.name === "TimeoutError";
    const words = late
      ? "No answer within a minute. Whether it was done cannot be said; look at the page."
      : "The server cannot be reached. Whether it was done cannot be said; look at the page.";
    return { ok: false, status: null, body: null, words };
  }
}
