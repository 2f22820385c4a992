/** Shows openapi.json. Text only ever becomes text. */
import { byId, make, say } from "../console/dom.js";
import { kindOf, nameOf } from "./kinds.js";

const METHODS = ["get", "put", "post", "delete", "patch"];

/** A text; what is between backticks is code. */
function words(text) {
  return text.split("`").map((part, place) => (place % 2 === 1 ? make("code", {}, part) : part));
}

function rows(heads, lines) {
  return make("div", { class: "scroller" }, make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...lines)));
}

function row(name, needed, kind, text) {
  const head = make("th", { scope: "row" }, make("code", {}, name));
  if (needed) head.append(" ", make("span", { class: "needed" }, "needed"));
  return make("tr", {}, head, make("td", { class: "kind" }, kind), make("td", {}, ...words(text)));
}

function parameters(operation) {
  const found = operation.parameters ?? [];
  if (found.length === 0) return [];
  const lines = found.map((each) =>
    row(each.name, each.required, `${each.in}: ${kindOf(each.schema)}`, each.description ?? ""));
  return [make("h4", {}, "Parameters"), rows(["Name", "What it takes", ""], lines)];
}

function body(operation) {
  const content = operation.requestBody?.content ?? {};
  return Object.entries(content).flatMap(([media, { schema }]) => [
    make("h4", {}, `Body (${media}${operation.requestBody.required ? "" : ", may be left out"})`),
    shape(schema),
  ]);
}

/** A link to a named schema, or what it is in words. */
function shape(schema) {
  const name = nameOf(schema);
  return name === null
    ? make("p", {}, make("code", {}, kindOf(schema)))
    : make("p", {}, make("a", { href: `#schema-${name}` }, name));
}

function answers(operation, shared) {
  const lines = Object.entries(operation.responses).map(([status, given]) => {
    const answer = given.$ref === undefined ? given : shared[nameOf(given)];
    const cell = make("td", { class: "kind" });
    for (const [media, { schema }] of Object.entries(answer.content ?? {})) cell.append(make("div", {}, media), shape(schema));
    return make("tr", {}, make("th", { scope: "row" }, status), cell, make("td", {}, ...words(answer.description)));
  });
  return [make("h4", {}, "Answers"), rows(["Status", "Body", ""], lines)];
}

function shown(path, method, operation, shared) {
  return make("article", { id: operation.operationId },
    make("h3", {}, make("span", { class: "method" }, method.toUpperCase()), make("span", {}, path)),
    make("p", { class: "summary" }, operation.summary),
    make("p", { class: "quiet" }, ...words(operation.description ?? "")),
    ...parameters(operation), ...body(operation), ...answers(operation, shared));
}

function schemas(components) {
  return Object.entries(components).map(([name, schema]) => {
    const needed = new Set(schema.required ?? []);
    const lines = Object.entries(schema.properties ?? {}).map(([member, each]) =>
      row(member, needed.has(member), kindOf(each), each.description ?? ""));
    return make("article", { id: `schema-${name}` },
      make("h3", {}, name),
      make("p", { class: "quiet" }, ...words(schema.description ?? "")),
      lines.length > 0 ? rows(["Member", "What it is", ""], lines) : make("p", {}, make("code", {}, kindOf(schema))));
  });
}

function show(spec) {
  const main = byId("main");
  const contents = byId("contents");
  const sections = [make("p", { class: "intro" }, ...words(spec.info.description))];
  for (const tag of spec.tags) {
    const articles = [];
    contents.append(make("h2", {}, tag.name));
    for (const [path, methods] of Object.entries(spec.paths)) {
      for (const method of METHODS.filter((each) => methods[each]?.tags.includes(tag.name))) {
        articles.push(shown(path, method, methods[method], spec.components.responses));
        contents.append(make("a", { href: `#${methods[method].operationId}` }, `${method.toUpperCase()} ${path}`));
      }
    }
    sections.push(make("section", {}, make("h2", {}, tag.name), make("p", {}, tag.description), ...articles));
  }
  contents.append(make("h2", {}, "Schemas"), make("a", { href: "#schemas" }, "All of them"));
  sections.push(make("section", { id: "schemas" }, make("h2", {}, "Schemas"), ...schemas(spec.components.schemas)));
  main.replaceChildren(...sections);
  main.removeAttribute("aria-busy");
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

try {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: HTTP status ${answer.status}`);
  show(await answer.json());
} catch (error) {
  const state = byId("state");
  if (state === null) throw error;
  say(state, `The document could not be shown: ${error.message}. Load the page again, or open openapi.json.`);
}
