// Tools without a model: a list, a form made from a tool's schema, and what came back.

import { callTool, tools as fetchTools } from "./api.js";
import { ApprovalCard } from "./approval.js";
import { announce, h } from "./dom.js";
import { render } from "./markdown.js";

const dialog = document.getElementById("tools");
const body = document.getElementById("tools-body");
const title = document.getElementById("tools-title");
const opener = document.getElementById("open-tools");

let known = [];

/** `put(element)` adds what came back to the conversation; `uuid()` names a form that is sent. */
export async function setUp({ put, uuid }) {
  document.getElementById("tools-close").addEventListener("click", () => dialog.close());
  opener.addEventListener("click", () => {
    list({ put, uuid });
    dialog.showModal();
  });
  known = await fetchTools().catch(() => []);
  opener.hidden = known.length === 0;
}

function list(page) {
  title.textContent = "Tools";
  const items = known.map((tool) => {
    const what = h("span", {}, h("b", {}, tool.title), h("span", { class: "where" }, tool.waits ? "waits for approval" : tool.call));
    return h("li", {}, h("button", { type: "button", class: "source", onclick: () => form(tool, page) }, what));
  });
  body.replaceChildren(h("ul", { class: "tool-list" }, ...items));
}

function form(tool, page) {
  title.textContent = tool.title;
  const name = page.uuid();
  const fields = tool.fields.map((field) => new Field(field));
  const said = h("p", { class: "said", role: "status" });
  const send = h("button", { type: "submit", class: "primary go" }, tool.waits ? "Ask for approval" : "Run");
  const back = h("button", { type: "button", class: "primary", onclick: () => list(page) }, "All tools");
  const element = h(
    "form", { class: "tool-form", novalidate: true },
    h("p", { class: "hint" }, tool.description), ...fields.map((field) => field.element), h("div", { class: "decide" }, send, back), said,
  );
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    said.textContent = "Running…";
    try {
      const given = Object.fromEntries(fields.map((field) => [field.name, field.value]).filter(([, value]) => value.trim()));
      const reply = await callTool(tool.name, given, name);
      said.textContent = reply.wrong ? "" : reply.failed ? reply.text : "";
      for (const field of fields) field.wrong(reply.wrong?.[field.name] ?? "");
      if (reply.wrong) fields.find((field) => reply.wrong[field.name])?.focus();
      else if (!reply.failed) {
        dialog.close();
        page.put(shown(tool, given, reply));
      }
    } catch (error) {
      said.textContent = error.message;
    } finally {
      send.disabled = false;
    }
  });
  body.replaceChildren(element);
  (fields[0] ?? { focus: () => send.focus() }).focus();
}

class Field {
  constructor(field) {
    this.name = field.name;
    const id = `tool-${field.name}`;
    this.input = control(field, id);
    this.problem = h("span", { class: "problem", id: `${id}-problem` });
    const hint = field.hint ? h("span", { class: "hint", id: `${id}-hint` }, field.hint) : null;
    this.input.setAttribute("aria-describedby", [hint ? `${id}-hint` : "", `${id}-problem`].join(" ").trim());
    const mark = field.required ? h("span", { class: "mark", title: "required" }, " *") : null;
    this.element = h("div", { class: "entry" }, h("label", { for: id }, field.label, mark), this.input, hint, this.problem);
  }

  get value() {
    return this.input.value;
  }

  wrong(problem) {
    this.problem.textContent = problem ? `${problem[0].toUpperCase()}${problem.slice(1)}.` : "";
    this.input.setAttribute("aria-invalid", String(Boolean(problem)));
  }

  focus() {
    this.input.focus();
  }
}

function control(field, id) {
  const common = { id, name: field.name, required: field.required };
  if (field.kind === "choice" || field.kind === "boolean") {
    const choices = field.kind === "choice" ? field.choices.map((choice) => [choice, choice]) : [["true", "yes"], ["false", "no"]];
    const options = [["", ""], ...choices].map(([value, words]) => h("option", { value, selected: value === field.default }, words));
    return h("select", common, ...options);
  }
  if (field.long) {
    const area = h("textarea", { ...common, rows: "4", placeholder: field.example });
    area.value = field.default;
    return area;
  }
  const type = { date: "date", integer: "number", number: "number" }[field.kind] ?? "text";
  const step = field.kind === "number" ? "any" : null;
  return h("input", { ...common, type, step, value: field.default, placeholder: field.example });
}

/** A call as it stands in the conversation. */
function shown(tool, given, reply) {
  const words = Object.entries(given).map(([name, value]) => `${name}=${value}`).join("  ");
  const answer = h("div", { class: "answer" }, render(reply.text, { cite: () => null }));
  if (reply.table) answer.append(table(reply.table));
  if (reply.approval) answer.append(new ApprovalCard(reply.approval).element);
  announce(`${tool.title}: ${answer.textContent.slice(0, 300)}`);
  return h("article", { class: "turn", "aria-label": "A call of a tool" }, h("h2", {}, tool.title), words ? h("p", { class: "aside given" }, words) : null, answer);
}

function table({ header, rows }) {
  const head = header.some(Boolean) ? [h("thead", {}, h("tr", {}, ...header.map((name) => h("th", { scope: "col" }, name))))] : [];
  const lines = rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))));
  return h("div", { class: "table" }, h("table", {}, ...head, h("tbody", {}, ...lines)));
}
