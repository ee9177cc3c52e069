// The passage behind a citation, in its document: a panel beside the conversation, a sheet on small screens.

import { passage } from "./api.js";
import { announce, h, icon, link, safeUrl } from "./dom.js";
import { render } from "./markdown.js";
import { saidBefore } from "./sources.js";

const panel = document.getElementById("panel");
const page = document.getElementById("page");
const title = document.getElementById("panel-title");
const details = document.getElementById("panel-details");
const body = document.getElementById("panel-body");
const backdrop = document.getElementById("backdrop");
const narrow = matchMedia("(max-width: 71.99rem)");

const SHORTEST = 16; // characters of what is looked for in a passage: "Yes" stands anywhere

let opener = null;
let loading = null;

export function setUp() {
  document.getElementById("panel-close").addEventListener("click", close);
  backdrop.addEventListener("click", close);
  narrow.addEventListener("change", cover);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) close();
  });
}

/** Show the passage of `citation` (chunk_id; title and quote if known). Focus comes back to `from` on close. */
export async function open(citation, from = null) {
  loading?.abort();
  loading = new AbortController();
  const { signal } = loading;
  opener?.classList.remove("open");
  opener = from;
  opener?.classList.add("open");
  title.textContent = citation.title ?? "Passage";
  details.replaceChildren(citation.external_id ?? "");
  body.replaceChildren(h("p", { class: "progress" }, h("span", { class: "pulse" }), "Opening…"));
  panel.hidden = false;
  cover();
  title.focus({ preventScroll: true });
  if (citation.tool) return said(citation);
  try {
    const said = from?.classList.contains("cite") ? saidBefore(from) : "";
    const quotes = [said, citation.quote ?? ""].filter((quote) => quote.length >= SHORTEST || quote === citation.quote);
    show(await passage(citation.chunk_id, signal), quotes);
  } catch (error) {
    if (signal.aborted) return;
    body.replaceChildren(h("div", { class: "outcome failed" }, icon("warning"), h("p", {}, error.message)));
    announce(error.message);
  }
}

export function close() {
  loading?.abort();
  panel.hidden = true;
  cover();
  if (location.pathname !== "/") history.replaceState(null, "", "/");
  opener?.classList.remove("open");
  (opener?.isConnected ? opener : document.getElementById("question")).focus();
  opener = null;
}

/** On a small screen the page behind the sheet cannot be reached. */
function cover() {
  const open = !panel.hidden;
  document.documentElement.classList.toggle("with-panel", open);
  backdrop.hidden = !(open && narrow.matches);
  page.inert = open && narrow.matches;
}

/** `quotes`: what is marked, the first of them that stands in the passage. */
function show({ document: source, chunks }, quotes) {
  title.textContent = source.title;
  details.replaceChildren(...about(source));
  let heading = "";
  const sections = chunks.map((chunk) => {
    const path = chunk.heading_path.filter((part) => part.toLowerCase() !== source.title.toLowerCase()).join(" › ");
    const first = path !== heading && path ? h("h3", {}, path) : null;
    heading = path;
    return h("section", chunk.current ? { class: "current", "aria-label": "The cited passage" } : {}, first, render(chunk.text, { plain: true }));
  });
  body.replaceChildren(...sections);
  const current = body.querySelector(".current");
  if (!current) return;
  const marked = quotes.reduce((found, quote) => found ?? highlight(current, quote), null);
  (marked ?? current).scrollIntoView({ block: marked ? "center" : "start" });
  announce(`${source.title}, opened at the cited passage.`);
}

/** What a tool said has no document behind it: its words as the answer kept them. */
function said(citation) {
  details.replaceChildren(`Asked ${new Date(citation.indexed).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`);
  body.replaceChildren(h("section", { class: "current", "aria-label": "What the tool said" }, h("pre", { class: "said" }, citation.quote)));
  announce(`${citation.title}: what the tool said.`);
}

function about(source) {
  const { owner, updated } = source.details;
  const url = safeUrl(source.url);
  const facts = [source.external_id, owner && `Owner: ${owner}`, updated && `Updated ${updated}`].filter(Boolean);
  const shown = [...facts.map((fact) => h("span", {}, fact)), url && link(url, "Open the original", icon("external"))];
  return shown.filter(Boolean).flatMap((part, index) => (index ? [" · ", part] : [part]));
}

/**
 * Mark the quote inside the element; the first mark, or null. Letters and digits are compared, so that bullets, table
 * bars and line breaks do not matter.
 */
export function highlight(element, quote) {
  const wanted = [...quote.matchAll(LETTER)].map((match) => match[0].toLowerCase()).join("\u0001");
  if (!wanted) return null;
  const letters = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest(".code-bar")) continue;
    for (const match of node.data.matchAll(LETTER)) {
      letters.push({ node, at: match.index, end: match.index + match[0].length, text: match[0].toLowerCase() });
    }
  }
  const where = letters.map((letter) => letter.text).join("\u0001").indexOf(wanted);
  if (where < 0) return null;
  return mark(between(letters, where, wanted));
}

const LETTER = /[\p{L}\p{N}]/gu;

/** The letters from character `where` of the joined text on, as many as the quote has. */
function between(letters, where, wanted) {
  let position = 0;
  let first = 0;
  while (position < where) position += letters[first++].text.length + 1;
  return letters.slice(first, first + wanted.split("\u0001").length);
}

/** Put <mark> around the letters and what stands between them, one per text node. */
function mark(letters) {
  const spans = new Map();
  for (const { node, at, end } of letters) spans.set(node, [spans.get(node)?.[0] ?? at, end]);
  const last = letters.at(-1).node;
  const marks = [...spans].map(([node, [start, stop]]) => {
    let end = stop;
    if (node === last) end += /^[.,;:!?)\]"'”’]*/.exec(node.data.slice(stop))[0].length;
    const range = document.createRange();
    range.setStart(node, start);
    range.setEnd(node, end);
    const around = h("mark");
    range.surroundContents(around);
    return around;
  });
  return marks[0];
}
