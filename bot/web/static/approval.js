// A call that waits for somebody's word: the exact call, who may decide, buttons, and what came of it.

import { approval as fetchApproval, decide } from "./api.js";
import { announce, h } from "./dom.js";

const LOOK_MS = 3000; // while somebody elsewhere may decide
const OPEN = new Set(["waiting", "running"]);

export class ApprovalCard {
  /** `pending` is what the answer carries; how it stands now is asked for. */
  constructor(pending) {
    this.id = pending.id;
    this.said = h("p", { class: "said", role: "status" });
    this.element = h("section", { class: "approval", "aria-label": `Approval: ${pending.title}` }, h("h3", {}, pending.title));
    this.#look();
  }

  async #look() {
    try {
      this.#show(await fetchApproval(this.id));
    } catch (error) {
      this.said.textContent = error.message;
      if (!this.said.isConnected) this.element.append(this.said);
      if (error.status !== 404) this.#again();
    }
  }

  #again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (this.element.isConnected ? this.#look() : undefined), LOOK_MS);
  }

  #show(now) {
    if (OPEN.has(now.state)) this.#again();
    if (now.state === this.state) return; // what somebody is about to press stays where it is
    const changed = this.state !== undefined;
    this.state = now.state;
    this.now = now;
    this.element.className = `approval ${now.state}`;
    this.element.replaceChildren(
      h("h3", {}, now.title),
      table(now),
      ...now.notes.map((note) => h("p", { class: "note" }, note)),
      h("p", { class: "status" }, now.status),
      ...told("Result", now.result),
      ...told("Before", now.before),
      ...(now.may_deny ? [this.#buttons()] : []),
      this.said,
    );
    if (changed) announce(`${now.title}: ${now.status}`);
  }

  #buttons() {
    const row = h("div", { class: "decide" });
    const deny = this.#button("Deny", "primary", () => this.#decide("deny", row));
    const approve = this.now.may_approve ? this.#button("Approve", "primary go", () => this.#sure(row)) : null;
    row.append(...[approve, deny].filter(Boolean));
    return row;
  }

  /** One more look before it is done. */
  #sure(row) {
    const back = this.#button("Back", "primary", () => row.replaceWith(this.#buttons()));
    const run = this.#button("Run it", "primary go", () => this.#decide("approve", row));
    row.replaceChildren(h("span", { class: "sure" }, "Run exactly this call, once?"), run, back);
    run.focus();
  }

  #button(label, looks, onclick) {
    return h("button", { type: "button", class: looks, onclick }, label);
  }

  async #decide(decision, row) {
    for (const button of row.querySelectorAll("button")) button.disabled = true;
    this.said.textContent = decision === "approve" ? "Running…" : "";
    try {
      this.#show(await decide(this.id, decision, this.now.hash));
      this.said.textContent = "";
    } catch (error) {
      this.said.textContent = error.message;
      row.replaceWith(this.#buttons());
    }
  }
}

function table(now) {
  const rows = now.rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, h("code", {}, value))));
  const call = h("p", { class: "call" }, h("code", {}, now.call));
  return h("div", { class: "exact" }, call, rows.length ? h("table", {}, h("tbody", {}, ...rows)) : null);
}

function told(heading, text) {
  return text ? [h("p", { class: "note" }, heading), h("pre", {}, h("code", {}, text))] : [];
}
