/**
 * Server-sent events from the text of a stream, as the HTML standard has them ("Server-sent events", 9.2.6).
 * EventSource would do this, but it cannot send a key in a header.
 */
export class EventParser {
  #rest = "";
  #event = "";
  #data = [];
  #id = "";
  #begun = false;

  /** The events, `{event, data, id}`, that this further piece of text completes. */
  push(text) {
    if (!this.#begun && text !== "") {
      this.#begun = true;
      text = text.replace(/^\uFEFF/, "");
    }
    const found = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length > 0) {
          found.push({ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id });
        }
        this.#event = "";
        this.#data = [];
      } else {
        this.#take(line);
      }
    }
    return found;
  }

  #take(line) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    // Comments (an empty field) and what the standard does not know say nothing.
  }
}
