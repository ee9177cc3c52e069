// Small helpers to build the page out of nodes. Text always goes in as text: nothing here parses HTML.

/** An element with attributes, listeners (`onclick`), and children (nodes, texts, or nothing). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const SHAPES = {
  up: "M6.5 9v7.2H4V9h2.5Zm0 .2 3-5.7c1.5 0 2.2 1 1.9 2.3L10.9 8h3.8c1.2 0 1.9 1 1.6 2.1l-1.2 4.5c-.3 1-1 1.6-2 1.6H6.5",
  down: "M13.5 11V3.8H16V11h-2.5Zm0-.2-3 5.7c-1.5 0-2.2-1-1.9-2.3l.5-2.2H5.3c-1.2 0-1.9-1-1.6-2.1l1.2-4.5c.3-1 1-1.6 2-1.6h6.6",
  copy: "M7.5 7.5V4.3h8.2v8.2h-3.2M4.3 7.5h8.2v8.2H4.3Z",
  check: "m4.5 10.5 3.7 3.7 7.3-8",
  external: "M11.5 4H16v4.5M16 4l-6.5 6.5M8 5H4.5v10.5H15V12",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11Zm4-1.5 3.5 3.5",
  warning: "M10 3.5 17 16H3l7-12.5Zm0 4.8v3.4m0 2v.3",
};

/** A decorative icon; whatever holds it carries the label. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** The URL if a browser may follow it without harm, else null. */
export function safeUrl(url) {
  if (typeof url !== "string" || !/^https?:\/\//i.test(url)) return null;
  return URL.canParse(url) ? url : null;
}

/** A link that opens in a new tab and tells the other side nothing. */
export function link(url, ...children) {
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "hidden", "aria-hidden": "true" }); // plain http has no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}

/** A button that copies `text()` and says so on itself. */
export function copyButton(text, label) {
  const words = h("span", {}, "Copy");
  const button = h("button", { type: "button", class: "quiet copy", "aria-label": label }, icon("copy"), words);
  button.addEventListener("click", async () => {
    const done = await copyText(text()).then(() => true, () => false);
    words.textContent = done ? "Copied" : "Not copied";
    button.firstChild.replaceWith(icon(done ? "check" : "copy"));
    setTimeout(() => {
      words.textContent = "Copy";
      button.firstChild.replaceWith(icon("copy"));
    }, 2000);
  });
  return button;
}

const live = document.getElementById("live");

/** Says something to people who listen to the page; polite, never token by token. */
export function announce(text) {
  live.textContent = text;
}
