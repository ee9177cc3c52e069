// What sections are made of: tables with bars in them, lists that go on, and the frame with its states.

import { ApiError } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { s } from "./admin-chart.js";

/** A bar as long as its shares of the whole, the first one in front; the numbers stand beside it. */
export function bar(shares, kind = "") {
  const parts = shares.map((value, n) => s("rect", { class: `part-${n}`, width: `${Math.max(0, Math.min(1, value)) * 100}%`, height: "100%", rx: 2 }));
  return s("svg", { class: `bar ${kind}`.trim(), "aria-hidden": "true" }, ...parts.reverse());
}

/** `columns`: {title, cell(row), kind?}; on a phone each row is a card, whose lines carry the titles. */
export function table(caption, columns, rows, extra = () => null) {
  const head = columns.map(({ title, kind }) => h("th", { scope: "col", class: kind ?? null }, title));
  const body = rows.flatMap((row) => {
    const cells = columns.map(({ title, cell, kind }, n) => {
      const parts = [cell(row)].flat().filter((part) => part !== null && part !== "");
      return h(n ? "td" : "th", { scope: n ? null : "row", class: kind ?? null, "data-title": title }, parts.length ? h("div", {}, ...parts) : null);
    });
    return [h("tr", {}, ...cells), extra(row)].filter(Boolean);
  });
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": caption }, h("table", { class: "stack" }, h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body)));
}

export const nothing = (text) => h("p", { class: "nothing" }, text);
export const chip = (text, kind = "") => h("span", { class: `chip ${kind}`.trim() }, text);

export function button(label, act, kind = "primary") {
  const element = h("button", { type: "button", class: kind }, label);
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await act(element);
    } catch (error) {
      warn(element, error);
    }
    element.disabled = false;
  });
  return element;
}

/** A button that asks once more in its own place before it acts. */
export function asking(label, question, act, kind = "quiet") {
  const first = h("button", { type: "button", class: kind }, label);
  const place = h("div", { class: "asking" }, first);
  const back = () => {
    place.replaceChildren(first);
    first.focus();
  };
  first.addEventListener("click", () => {
    const yes = button(label, act);
    const no = h("button", { type: "button", class: "quiet", onclick: back }, "Cancel");
    place.replaceChildren(h("div", { role: "group", "aria-label": question }, h("p", {}, question), yes, no));
    yes.focus();
  });
  place.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !first.isConnected) back();
  });
  return place;
}

/** Say what went wrong below what was pressed. */
function warn(element, error) {
  element.parentElement.querySelector(":scope > .wrong")?.remove();
  element.after(h("p", { class: "wrong", role: "alert" }, error.message));
  if (!(error instanceof ApiError)) console.error(error);
}

/** "Show more" below a list: `next()` adds to it and says whether there is more. */
export function goesOn(more, next) {
  if (!more) return null;
  const element = button("Show more", async () => {
    if (!(await next())) element.remove();
  });
  element.classList.add("more");
  return element;
}

/** A section: `draw(load)` makes its body out of what it loads. */
export class Section {
  constructor(id, title, hint, draw, wide = true) {
    Object.assign(this, { id, title, draw });
    this.body = h("div", { class: "body" });
    this.element = h("section", { id, class: wide ? "card wide" : "card", "aria-labelledby": `${id}-title` }, h("header", {}, h("h2", { id: `${id}-title` }, title), h("p", { class: "hint" }, hint)), this.body);
  }

  /** `load(path, parameters)` asks the API; what came before is shown until the new is there. */
  async show(load, quiet = false) {
    const turn = (this.turn = Symbol(this.id));
    this.load = load;
    this.body.setAttribute("aria-busy", "true");
    if (!this.body.childElementCount) this.body.append(h("div", { class: "skeleton" }, h("span", { class: "hidden" }, "Loading…")));
    try {
      const parts = await this.draw(load, this);
      if (turn === this.turn) this.body.replaceChildren(...[parts].flat().filter(Boolean));
    } catch (error) {
      if (turn !== this.turn || error.name === "AbortError") return;
      if (!quiet) announce(`${this.title}: ${error.message}`);
      const retry = button("Try again", () => this.show(load));
      this.body.replaceChildren(h("div", { class: "outcome failed" }, icon("warning"), h("div", {}, h("p", {}, error.message), retry)));
      if (!(error instanceof ApiError)) console.error(error);
    } finally {
      if (turn === this.turn) this.body.setAttribute("aria-busy", "false");
    }
  }
}
