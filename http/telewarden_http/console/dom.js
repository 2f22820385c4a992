/** Elements and their texts. Text only ever becomes text: nothing here parses HTML. */

/** An element. `class`, `hidden` and other attributes; children are elements or texts. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children);
  return element;
}

/** The mark of a state, which its parent's `data-state` gives a shape. A word beside it says the same. */
export function mark() {
  return make("span", { class: "mark", "aria-hidden": "true" });
}

/** Words that are read aloud and not shown. */
export function unseen(words = "") {
  return make("span", { class: "unseen" }, words);
}

/** An attribute; false, null and undefined remove it. Changes nothing that is as it should be. */
export function set(element, name, value) {
  if (value === false || value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** The text of an element. Changes nothing if it reads so already: selections stay, and nobody is told anew. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

const kept = new WeakMap();

/**
 * Makes the children of `parent` show `items`, in their order. An element stays the same for as long as its key does,
 * so that focus and hovering survive. create(item) gives an element; update(element, item) brings it up to date.
 */
export function list(parent, items, keyOf, create, update) {
  let known = kept.get(parent);
  if (known === undefined) {
    parent.replaceChildren();
    kept.set(parent, (known = new Map()));
  }
  const wanted = new Map(items.map((item) => [keyOf(item), item]));
  for (const [key, element] of known) {
    if (!wanted.has(key)) {
      element.remove();
      known.delete(key);
    }
  }
  let place = parent.firstElementChild;
  for (const [key, item] of wanted) {
    let element = known.get(key);
    if (element === undefined) {
      element = create(item);
      known.set(key, element);
    }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
}

/** One item that says why there are none. */
export function nothing(parent, words) {
  list(parent, [words], () => "(nothing)", () => make("li", { class: "empty" }), say);
}

/** Makes nothing of what `list` showed there. */
export function clear(parent) {
  list(parent, [], null, null, null);
}
