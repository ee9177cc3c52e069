// Columns over time, drawn as SVG: stacked, and below the line where a series says so. By mouse, finger or arrow keys
// one reads what a column stands for; the same numbers stand in a table below.

import { h } from "./dom.js";
import { count } from "./admin-format.js";

const NS = "http://www.w3.org/2000/svg";
const LABEL_WIDTH = 74; // pixels that one label of the axis takes
const BOTTOM = 24;
let charts = 0;

export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** From 0 in even steps to at least `most`. `fraction`: steps may be smaller than 1. */
export function ticks(most, wanted = 4, fraction = false) {
  if (!(most > 0)) return [0, 1];
  const raw = most / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw - 1e-12 && (fraction || Number.isInteger(n))) ?? 1;
  const found = [];
  for (let n = 0; n < Math.ceil(most / step - 1e-9) + 1; n += 1) found.push(n * step);
  return found;
}

/**
 * `series`: {key, label, below?}, the lowest first; `rows`: {axis, full, values}; `format` writes a value;
 * `say(row)`: more to read of a column.
 */
export class Columns {
  constructor({ title, description, series, rows, format = count, fraction = false, say = () => [] }) {
    Object.assign(this, { title, description, rows, format, fraction, say });
    this.series = series.filter(({ key }) => rows.some((row) => row.values[key]));
    this.at = null;
    charts += 1;
    this.svg = s("svg", { role: "img", "aria-labelledby": `chart-${charts}-title`, "aria-describedby": `chart-${charts}-about`, class: "columns" });
    this.names = [s("title", { id: `chart-${charts}-title` }, title), s("desc", { id: `chart-${charts}-about` }, description)];
    this.tip = h("div", { class: "tip", hidden: true });
    this.said = h("p", { class: "hidden", "aria-live": "polite" });
    this.plot = h("div", { class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": `${title}. Arrow keys read the columns.` }, this.svg, h("div", { class: "over" }), this.tip);
    this.element = h("figure", { class: "chart" }, this.#legend(), this.plot, this.said, this.#table());
    this.#listen();
    new ResizeObserver(([entry]) => this.#draw(Math.floor(entry.contentRect.width))).observe(this.plot);
  }

  #legend() {
    const sum = (key) => this.rows.reduce((all, row) => all + (row.values[key] ?? 0), 0);
    const items = this.series.map(({ key, label }) => h("li", {}, h("i", { class: `swatch of-${key}` }), label, " ", h("b", {}, this.format(sum(key)))));
    return h("ul", { class: "legend" }, ...items);
  }

  #table() {
    const details = h("details", { class: "as-table" }, h("summary", {}, "As a table"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const head = h("tr", {}, h("th", { scope: "col" }, "When"), ...this.series.map(({ label }) => h("th", { scope: "col", class: "number" }, label)));
      const body = this.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.full), ...this.series.map(({ key }) => h("td", { class: "number" }, this.format(row.values[key] ?? 0)))));
      details.append(h("div", { class: "table", tabindex: "0", role: "region", "aria-label": this.title }, h("table", {}, h("caption", { class: "hidden" }, this.title), h("thead", {}, head), h("tbody", {}, ...body))));
    });
    return details;
  }

  #listen() {
    this.plot.addEventListener("pointermove", (event) => this.#read(this.#column(event.clientX)));
    this.plot.addEventListener("pointerdown", (event) => this.#read(this.#column(event.clientX)));
    this.plot.addEventListener("pointerleave", () => this.#read(null));
    this.plot.addEventListener("blur", () => this.#read(null));
    this.plot.addEventListener("keydown", (event) => {
      const last = this.rows.length - 1;
      const to = { ArrowLeft: Math.max(0, (this.at ?? last + 1) - 1), ArrowRight: Math.min(last, (this.at ?? -1) + 1), Home: 0, End: last, Escape: null }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.#read(to, true);
    });
  }

  #column(clientX) {
    const place = Math.floor((clientX - this.plot.getBoundingClientRect().left - this.left) / this.band);
    return place >= 0 && place < this.rows.length ? place : null;
  }

  #read(at, aloud = false) {
    if (at === this.at) return;
    this.at = at;
    this.shade?.setAttribute("visibility", at === null ? "hidden" : "visible");
    this.tip.hidden = at === null;
    if (at === null) return;
    const row = this.rows[at];
    this.shade.setAttribute("x", this.left + at * this.band);
    const shown = this.series.filter(({ key }) => row.values[key]).reverse();
    const lines = shown.map(({ key, label }) => h("li", {}, h("i", { class: `swatch of-${key}` }), `${label} `, h("b", {}, this.format(row.values[key]))));
    const more = this.say(row).map((text) => h("li", { class: "muted" }, text));
    this.tip.replaceChildren(h("strong", {}, row.full), h("ul", {}, ...(lines.length ? lines : [h("li", { class: "muted" }, "Nothing")]), ...more));
    const middle = this.left + (at + 0.5) * this.band;
    const room = this.width - this.tip.offsetWidth;
    this.tip.style.translate = `${Math.max(0, Math.min(room, middle - this.tip.offsetWidth / 2))}px 0`;
    if (aloud) this.said.textContent = [row.full, ...(shown.length ? shown.map(({ key, label }) => `${label} ${this.format(row.values[key])}`) : ["nothing"]), ...this.say(row)].join(", ");
  }

  #draw(width) {
    if (width < 40 || width === this.width) return;
    this.width = width;
    const height = width < 480 ? 190 : 240;
    const ups = this.series.filter(({ below }) => !below);
    const downs = this.series.filter(({ below }) => below);
    const most = (parts) => Math.max(0, ...this.rows.map((row) => parts.reduce((sum, { key }) => sum + (row.values[key] ?? 0), 0)));
    const marks = ticks(Math.max(most(ups), most(downs)), downs.length ? 3 : 4, this.fraction);
    const upTo = (value) => marks.find((mark) => mark >= value) ?? marks.at(-1);
    const down = downs.length ? upTo(most(downs)) : 0;
    const top = downs.length ? upTo(most(ups)) : marks.at(-1);
    const y = (value) => 8 + (height - BOTTOM - 8) * ((top - value) / (top + down));
    const lines = [...marks.filter((mark) => mark && mark <= down).map((mark) => -mark), ...marks.filter((mark) => mark <= top)];
    this.left = 10 + 7 * Math.max(...marks.map((mark) => this.format(mark).length));
    this.band = (width - this.left) / this.rows.length;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    this.shade = s("rect", { class: "shade", y: 0, width: this.band, height: height - BOTTOM, visibility: "hidden" });
    this.svg.replaceChildren(...this.names, this.shade, ...this.#grid(lines, y, width), ...this.#bars(ups, downs, y), ...this.#axis(width, height));
    this.at = null;
    this.tip.hidden = true;
  }

  #grid(values, y, width) {
    return values.flatMap((value) => [
      s("line", { class: value ? "grid" : "zero", x1: this.left, x2: width, y1: y(value), y2: y(value) }),
      s("text", { class: "mark", x: this.left - 8, y: y(value) + 4, "text-anchor": "end" }, this.format(Math.abs(value))),
    ]);
  }

  #bars(ups, downs, y) {
    const thick = Math.max(1, Math.min(this.band * 0.72, 40));
    return this.rows.flatMap((row, n) => {
      const x = this.left + n * this.band + (this.band - thick) / 2;
      const pile = (parts, sign) => {
        let from = 0;
        return parts.filter(({ key }) => row.values[key]).map(({ key }) => {
          const to = from + sign * row.values[key];
          const [high, low] = [y(Math.max(from, to)), y(Math.min(from, to))];
          from = to;
          return s("rect", { class: `of-${key}`, x, width: thick, y: high, height: Math.max(1, low - high - (low - high > 3 ? 1 : 0)) });
        });
      };
      return [...pile(ups, 1), ...pile(downs, -1)];
    });
  }

  #axis(width, height) {
    const step = Math.ceil(this.rows.length / Math.max(1, Math.floor((width - this.left) / LABEL_WIDTH)));
    return this.rows.map((row, n) => [row, n]).filter(([, n]) => (this.rows.length - 1 - n) % step === 0).map(([row, n]) => {
      const x = this.left + (n + 0.5) * this.band;
      const last = width - x < LABEL_WIDTH / 2 && this.rows.length > 1;
      return s("text", { class: "mark", x: last ? width : x, y: height - 6, "text-anchor": last ? "end" : "middle" }, row.axis);
    });
  }
}
