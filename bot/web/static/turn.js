// One question with its answer: waiting, streaming, done, stopped or failed.

import { vote } from "./api.js";
import { ApprovalCard } from "./approval.js";
import { announce, copyButton, h, icon } from "./dom.js";
import { render } from "./markdown.js";
import { besideCode, marker, sourceList } from "./sources.js";

const STAGES = { searching: "Searching…", writing: "Writing…" };
export class Turn {
  /** `open(citation, button)` shows a passage; `retry(turn)` asks the same question again in this one's place. */
  constructor(question, { open, retry }) {
    this.question = question;
    this.open = open;
    this.retry = retry;
    this.text = "";
    this.frame = null;
    this.progress = h("p", { class: "progress" });
    this.body = h("div", { class: "answer" });
    const title = h("h2", {}, question);
    this.element = h("article", { class: "turn", "aria-label": "Question and answer" }, title, this.body, this.progress);
  }

  stage(name, tool) {
    const words = tool ? `Asking ${tool}…` : STAGES[name] ?? "Working…";
    this.progress.replaceChildren(h("span", { class: "pulse" }), words);
    announce(words);
  }

  /** More text. Drawn at most once a frame. */
  append(text) {
    this.text += text;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.body.replaceChildren(besideCode(render(this.text, { cite: (n) => marker(n, null) })));
    });
  }

  finish(answer, thumb = null, { quiet = false } = {}) {
    this.#settle();
    const cited = new Map(answer.citations.map((citation) => [citation.n, citation]));
    const cite = (n) => (cited.has(n) ? marker(n, cited.get(n), this.open) : null);
    const text = besideCode(render(answer.text, { cite }));
    const said = spoken(text);
    if (["answered", "waiting_for_approval"].includes(answer.outcome)) this.body.replaceChildren(text);
    else this.body.replaceChildren(this.#outcome(answer.outcome, text));
    const rest = [
      ...(answer.approvals ?? []).map((pending) => new ApprovalCard(pending).element),
      sourceList("Sources", answer.citations, true, this.open),
      sourceList("Nearest in the documents", answer.nearest, false, this.open),
      this.#foot(answer, thumb),
    ];
    this.element.append(...rest.filter(Boolean));
    if (!quiet) announce(said);
  }

  /** The answer was not finished, by the asker's own doing. What has come stays. */
  stopped(sentence) {
    this.#settle();
    if (this.text) this.body.replaceChildren(besideCode(render(this.text, { cite: (n) => marker(n, null) })));
    this.element.append(h("p", { class: "aside" }, sentence), this.#again("Ask again"));
    announce(sentence);
  }

  /** There is no answer, for a reason on the way to the assistant or back. */
  broken(sentence) {
    this.#settle();
    this.body.replaceChildren(this.#outcome("failed", h("p", {}, sentence)));
    announce(sentence);
  }

  #settle() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = null;
    this.progress.remove();
  }

  #outcome(name, text) {
    const shape = name === "not_in_documents" ? "search" : "warning";
    const again = name === "failed" ? this.#again("Try again") : null;
    return h("div", { class: `outcome ${name}` }, icon(shape), h("div", {}, text, again));
  }

  #again(label) {
    return h("button", { type: "button", class: "primary again", onclick: () => this.retry(this) }, label);
  }

  #foot(answer, thumb) {
    const thumbs = new Thumbs(answer.answer_id, thumb);
    const copy = answer.outcome === "answered" ? copyButton(() => answer.text, "Copy the answer") : null;
    return h("footer", {}, h("div", { class: "actions" }, thumbs.buttons, copy), h("p", { class: "meta" }, meta(answer)), thumbs.below);
  }
}

class Thumbs {
  constructor(answerId, value) {
    this.answerId = answerId;
    this.value = value;
    this.up = this.#button("up", 1, "Good answer");
    this.down = this.#button("down", -1, "Bad answer");
    this.said = h("span", { class: "said", role: "status" });
    this.form = this.#reason();
    this.buttons = [this.up, this.down, this.said];
    this.below = this.form;
    this.#show();
  }

  #button(shape, value, label) {
    return h("button", { type: "button", class: "quiet icon-only thumb", "aria-label": label, title: label, onclick: () => this.#cast(value) }, icon(shape));
  }

  #reason() {
    const input = h("input", { type: "text", maxlength: "500", "aria-label": "What was wrong?", placeholder: "What was wrong? (optional)" });
    const form = h("form", { class: "reason", hidden: true }, input, h("button", { type: "submit", class: "primary" }, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value.trim()) this.#cast(-1, input.value.trim());
    });
    return form;
  }

  async #cast(value, reason = null) {
    const before = this.value;
    this.value = value;
    this.#show();
    this.said.textContent = "Saving…";
    try {
      await vote(this.answerId, value, reason);
      this.said.textContent = value === 1 ? "Noted as good" : "Noted as bad";
      if (reason) this.said.textContent = "Thank you, noted";
      this.form.hidden = value === 1 || reason !== null;
    } catch {
      this.value = before;
      this.said.textContent = "Your vote was not saved; try again";
      this.#show();
    }
  }

  #show() {
    this.up.setAttribute("aria-pressed", String(this.value === 1));
    this.down.setAttribute("aria-pressed", String(this.value === -1));
  }
}

/** What is read out: the text without source numbers and buttons. */
function spoken(text) {
  const copy = text.cloneNode(true);
  for (const part of copy.querySelectorAll(".cite, .code-bar")) part.remove();
  return copy.textContent;
}

/** "0.42 s · extractive · 1,240 tokens · $0.0021" */
function meta(answer) {
  const { total } = answer.timings_ms;
  const tokens = answer.usage.prompt_tokens + answer.usage.completion_tokens;
  return [
    total === undefined ? null : total < 1000 ? `${Math.max(1, Math.round(total))} ms` : `${(total / 1000).toFixed(1)} s`,
    answer.model,
    tokens ? `${tokens.toLocaleString("en")} tokens` : null,
    answer.usage.cost_usd ? `$${answer.usage.cost_usd.toFixed(4)}` : null,
    answer.reference ? `reference ${answer.reference}` : null,
  ].filter(Boolean).join(" · ");
}
