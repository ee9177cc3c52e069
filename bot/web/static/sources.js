// Citations: the small numbers in an answer, and the list of sources below it.

import { h, safeUrl } from "./dom.js";

/** "Rolling back › How long you have", each part once. */
export function place(citation) {
  const path = citation.heading_path.filter((part) => part.toLowerCase() !== citation.title.toLowerCase());
  return [citation.title, ...path];
}

/** The button for `[n]`. Without a citation (text still streaming) the number waits for its source. */
export function marker(n, citation, open) {
  if (!citation) return h("span", { class: "cite waiting" }, String(n));
  const label = `Source ${n}: ${place(citation).join(", ")}`;
  const button = h("button", { type: "button", class: "cite", "aria-label": label, title: place(citation).join(" › ") }, String(n));
  button.addEventListener("click", () => open(citation, button));
  return button;
}

/** Markers that stand alone below a block of code move into its bar. */
export function besideCode(fragment) {
  for (const paragraph of fragment.querySelectorAll(".code + p")) {
    const markers = [...paragraph.querySelectorAll(".cite")];
    if (!markers.length || paragraph.textContent.replace(/\s/g, "") !== markers.map((one) => one.textContent).join("")) continue;
    paragraph.previousElementSibling.querySelector(".code-bar").prepend(h("div", { class: "cites" }, markers));
    paragraph.remove();
  }
  return fragment;
}

/** What is said just before a marker: back to the marker before it, or to the beginning of its paragraph, item or code. */
export function saidBefore(button) {
  const code = button.closest(".code");
  if (code) return code.querySelector("pre").textContent;
  const block = button.closest("p, li, td, th, h1, h2, h3, h4, h5, h6, blockquote");
  if (!block) return "";
  const range = document.createRange();
  const markers = [...block.querySelectorAll(".cite")];
  const before = markers.slice(0, markers.indexOf(button)).reverse();
  let end = button;
  for (const other of [...before, null]) {  // [1][2] behind one sentence belong to it both
    if (other) range.setStartAfter(other);
    else range.setStart(block, 0);
    range.setEndBefore(end);
    if (range.toString().trim()) return range.toString();
    end = other ?? end;
  }
  return "";
}

/** The sources under an answer. `numbered`: they are cited; otherwise they are only the nearest. */
export function sourceList(title, citations, numbered, open) {
  if (!citations.length) return null;
  const items = citations.map((citation) => h("li", {}, source(citation, numbered, open)));
  return h("section", { class: "sources", "aria-label": title }, h("h3", {}, title), h(numbered ? "ol" : "ul", {}, items));
}

function source(citation, numbered, open) {
  const [title, ...path] = place(citation);
  const name = [h("b", {}, title), path.length ? ` › ${path.join(" › ")}` : null];
  const where = h("span", { class: "where" }, shortPlace(citation));
  const number = numbered ? h("span", { class: "cite", "aria-hidden": "true" }, String(citation.n)) : null;
  const button = h("button", { type: "button", class: "source" }, number, h("span", {}, ...name, where));
  button.addEventListener("click", () => open(citation, button));
  return button;
}

function shortPlace(citation) {
  if (citation.tool) return `asked ${new Date(citation.indexed).toLocaleTimeString([], { timeStyle: "short" })}`;
  const url = safeUrl(citation.url);
  return url ? new URL(url).host + new URL(url).pathname : citation.external_id;
}
