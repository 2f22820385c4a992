/** A small line of the last minutes: what the figure beside it did. */
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 32;

/**
 * Paths of a line through samples and of the area below it, the newest sample at the right end; null breaks them.
 * most: what the full height means; length: how many samples the width has room for.
 */
export function paths(samples, most, length) {
  const step = WIDTH / Math.max(1, length - 1);
  const first = WIDTH - step * (samples.length - 1);
  let line = "";
  let area = "";
  let previous = null;
  samples.forEach((sample, index) => {
    const x = (first + step * index).toFixed(1);
    if (sample === null) {
      if (previous !== null) area += `L${previous} ${HEIGHT}Z`;
      previous = null;
      return;
    }
    const y = (HEIGHT - 1 - (sample / most) * (HEIGHT - 3)).toFixed(1);
    line += `${previous === null ? "M" : "L"}${x} ${y}`;
    area += previous === null ? `M${x} ${HEIGHT}L${x} ${y}` : `L${x} ${y}`;
    previous = x;
  });
  if (previous !== null) area += `L${previous} ${HEIGHT}Z`;
  return { line, area };
}

function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  return element;
}

/** A sparkline of the last `length` samples. It is hidden from screen readers: the figure is told as text. */
export class Sparkline {
  #samples = [];
  #area = svg("path", { class: "spark-area" });
  #line = svg("path", { class: "spark-line" });

  constructor(length) {
    this.length = length;
    this.element = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "spark", "aria-hidden": "true",
    });
    this.element.append(this.#area, this.#line);
  }

  /** A further sample; null where nothing is known. least: what the full height means at least. */
  add(sample, least) {
    this.#samples.push(typeof sample === "number" && Number.isFinite(sample) ? sample : null);
    if (this.#samples.length > this.length) this.#samples.shift();
    const most = Math.max(least, ...this.#samples.filter((each) => each !== null));
    const { line, area } = paths(this.#samples, most, this.length);
    this.#line.setAttribute("d", line);
    this.#area.setAttribute("d", area);
  }
}
