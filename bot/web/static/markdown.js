// Markdown to nodes. No HTML is ever parsed: what is not Markdown stays text, whatever it looks like.
// Depth and look-ahead are bounded, so hostile text costs no more than long text.

import { copyButton, h, link, safeUrl } from "./dom.js";

const DEEPEST = 8;
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6}) +(\S.*)$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const ITEM = /^( *)([-*+•]|\d{1,9}[.)])(?: +(.*)|)$/;
const QUOTE = /^ {0,3}> ?/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/**
 * The text as a fragment. `cite(n)` makes the node for a `[n]` marker. `plain`: inside a block only `code` is Markdown
 * (passages of documents, whose other inline mark-up is already gone).
 */
export function render(text, { cite = null, plain = false } = {}) {
  const fragment = document.createDocumentFragment();
  const lines = text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n");
  fragment.append(...blocks(lines, { cite, plain }, 0));
  return fragment;
}

function blocks(lines, options, depth) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [node, next] = block(lines, at, options, depth);
    nodes.push(node);
    at = next;
  }
  return nodes;
}

function block(lines, at, options, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [h(`h${Math.min(6, heading[1].length + 2)}`, {}, inline(heading[2].trim().replace(/ #+$/, ""), options)), at + 1];
  if (RULE.test(line)) return [h("hr"), at + 1];
  if (isTable(lines, at)) return table(lines, at, options);
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, options, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, options, depth);
  return paragraph(lines, at, options);
}

function code(lines, at, fence) {
  const closing = new RegExp(`^ {0,3}${fence[1][0] === "`" ? "`" : "~"}{${fence[1].length},}\\s*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const text = lines.slice(at + 1, end).join("\n");
  const language = fence[2] ? h("span", {}, fence[2]) : null;
  const bar = h("div", { class: "code-bar" }, language, copyButton(() => text, "Copy the code"));
  const pre = h("pre", { tabindex: "0" }, h("code", {}, text));
  return [h("div", { class: language ? "code" : "code bare" }, bar, pre), end + 1];
}

function isTable(lines, at) {
  const rule = lines[at + 1];
  return lines[at].includes("|") && rule !== undefined && rule.includes("|") && DELIMITERS.test(rule);
}

function table(lines, at, options) {
  const head = cells(lines[at]);
  const rows = [];
  let end = at + 2;
  while (end < lines.length && lines[end].trim() && lines[end].includes("|")) rows.push(cells(lines[end++]));
  const row = (tag, values) =>
    h("tr", {}, head.map((_, column) => h(tag, tag === "th" ? { scope: "col" } : {}, inline(values[column] ?? "", options))));
  const body = h("tbody", {}, rows.map((values) => row("td", values)));
  const whole = h("table", {}, h("thead", {}, row("th", head)), body);
  return [h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, whole), end];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function quote(lines, at, options, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [h("blockquote", {}, blocks(inner, options, depth + 1)), end];
}

function list(lines, at, options, depth) {
  const [, margin, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const items = [];
  let loose = false;
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    if (!item || item[1].length > margin.length + 1 || /\d/.test(item[2]) !== ordered || RULE.test(lines[end])) break;
    const [inner, next] = itemLines(lines, end, item);
    if (inner.some((line, index) => !line.trim() && index < inner.length - 1)) loose = true;
    items.push(inner);
    end = next;
  }
  const start = ordered && parseInt(mark, 10) !== 1 ? parseInt(mark, 10) : null;
  const children = items.map((inner) => h("li", {}, tight(blocks(inner, options, depth + 1), loose)));
  return [h(ordered ? "ol" : "ul", { start }, children), end];
}

/** An item's own lines, without its margin, and the line after it. */
function itemLines(lines, at, item) {
  const content = item[1].length + item[2].length + 1;
  const inner = [item[3] ?? ""];
  let end = at + 1;
  let open = false; // within a fence nothing ends the item but its margin
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    const margin = line.length - line.trimStart().length;
    if (line.trim() && margin <= item[1].length + 1 && !open) {
      if (ITEM.test(line) || !lines[end - 1].trim() || startsBlock(lines, end)) break;
    }
    if (FENCE.test(line.trimStart())) open = !open;
    inner.push(line.slice(Math.min(margin, content)));
  }
  while (inner.length > 1 && !inner.at(-1).trim()) inner.pop();
  return [inner, end];
}

function tight(nodes, loose) {
  if (loose) return nodes;
  return nodes.flatMap((node) => (node.tagName === "P" ? [...node.childNodes] : [node]));
}

function startsBlock(lines, at) {
  const line = lines[at];
  const item = ITEM.exec(line);
  if (item && item[3] && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1)) return true;
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || isTable(lines, at);
}

function paragraph(lines, at, options) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !startsBlock(lines, end)) end += 1;
  const text = lines.slice(at, end).map((line) => line.trim()).join("\n");
  return [h("p", {}, inline(text, options)), end];
}

const TOKEN = new RegExp(
  [
    /\\(?<escaped>[\\`*_{}[\]()#+\-.!|~>])/,
    /(?<ticks>`+)/,
    /(?<delimiter>\*{1,3}|_{1,3}|~~)/,
    /\[(?<number>\d{1,3})\](?!\()/,
    /(?<bracket>\[)/,
    /(?<url>https?:\/\/[^\s<>"'`\\]+)/,
    /\n/,
  ].map((part) => part.source).join("|"),
  "g",
);
const PLAIN_TOKEN = /(?<ticks>`+)|\n/g;
const WRAP = { 1: ["em"], 2: ["strong"], 3: ["strong", "em"] };

/** The nodes of a run of text. */
function inline(text, options, depth = 0) {
  if (depth > DEEPEST) return [text];
  const nodes = [];
  const absent = new Set(); // closers that do not come any more
  const tokens = new RegExp(options.plain ? PLAIN_TOKEN : TOKEN);
  let at = 0;
  for (let match = tokens.exec(text); match; match = tokens.exec(text)) {
    const found = token(text, match, options, depth, absent);
    if (!found) continue;
    const [made, end] = found;
    const before = text.slice(at, match.index);
    if (match.groups.number) nodes.push(...kept(before, made));
    else nodes.push(before, ...made);
    at = tokens.lastIndex = end;
  }
  nodes.push(text.slice(at));
  return nodes.filter((node) => node !== "");
}

/** A marker stays on the line of the word before it. */
function kept(before, made) {
  const words = before.replace(/ $/, "");
  const space = words === before ? "" : "\u00a0";
  const cut = words.lastIndexOf(" ") + 1;
  if (words.length - cut > 30) return [before, ...made];
  return [words.slice(0, cut), h("span", { class: "kept" }, words.slice(cut), space, made)];
}

/** What a token stands for, and where the text goes on; null: it is just text. */
function token(text, match, options, depth, absent) {
  const whole = match[0];
  const { escaped, ticks, delimiter, number, bracket, url } = match.groups;
  const after = match.index + whole.length;
  if (escaped) return [[escaped], after];
  if (ticks) return codeSpan(text, after, ticks, absent);
  if (delimiter) return emphasis(text, match.index, delimiter, options, depth, absent);
  if (number) return options.cite ? [[options.cite(Number(number)) ?? whole], after] : null;
  if (bracket) return named(text, match.index, options, depth);
  if (url) return bare(match.index, url, options);
  return [[h("br")], after];
}

function codeSpan(text, start, ticks, absent) {
  if (absent.has(ticks)) return null;
  const closing = new RegExp(`(?<!\`)${ticks}(?!\`)`, "g");
  closing.lastIndex = start;
  const end = closing.exec(text)?.index;
  if (end === undefined) {
    absent.add(ticks);
    return null;
  }
  const inner = text.slice(start, end).replaceAll("\n", " ");
  return [[h("code", {}, /^ .*[^ ].* $/.test(inner) ? inner.slice(1, -1) : inner)], end + ticks.length];
}

/** Where code stands from `start` on, as [begin, end], one after the other: it goes before any emphasis. */
function* codeFrom(text, start, absent) {
  const tokens = /\\[^]|`+/g;
  tokens.lastIndex = start;
  for (let match = tokens.exec(text); match; match = tokens.exec(text)) {
    const span = match[0][0] === "`" ? codeSpan(text, tokens.lastIndex, match[0], absent) : null;
    if (!span) continue;
    tokens.lastIndex = span[1];
    yield [match.index, span[1]];
  }
}

function emphasis(text, index, mark, options, depth, absent) {
  const start = index + mark.length;
  const word = /[\p{L}\p{N}]/u;
  const snake = mark[0] === "_";
  if (absent.has(mark) || !/\S/.test(text[start] ?? "") || (snake && word.test(text[index - 1] ?? ""))) return null;
  const spans = codeFrom(text, start, absent);
  let code = spans.next().value;
  for (let end = text.indexOf(mark, start + 1); end >= 0; end = text.indexOf(mark, end + 1)) {
    while (code && code[1] <= end) code = spans.next().value;
    if (code && code[0] < end) {
      end = code[1] - 1;
      continue;
    }
    const last = text[end - 1];
    const next = text[end + mark.length] ?? "";
    if (/[\s\\]/.test(last) || last === mark[0] || next === mark[0] || (snake && word.test(next))) continue;
    const inner = inline(text.slice(start, end), options, depth + 1);
    const tags = mark[0] === "~" ? ["del"] : WRAP[mark.length];
    return [[tags.reduceRight((children, tag) => [h(tag, {}, children)], inner)[0]], end + mark.length];
  }
  absent.add(mark);
  return null;
}

const NAMED = /\[([^\]\n]{1,500})\]\( ?<?(https?:\/\/(?:[^\s<>()]|\([^\s<>()]{0,200}\)){1,2000})>?(?: "[^"\n]{0,200}")? ?\)/iy;

function named(text, index, options, depth) {
  NAMED.lastIndex = index;
  const match = NAMED.exec(text);
  const url = match && safeUrl(match[2]);
  if (!url) return null;
  const label = inline(match[1], { ...options, inLink: true }, depth + 1);
  return [[options.inLink ? h("span", {}, label) : link(url, ...label)], index + match[0].length];
}

function bare(index, raw, options) {
  let shown = raw.replace(/[.,;:!?*_~]+$/, "");
  while (shown.endsWith(")") && !shown.includes("(")) shown = shown.slice(0, -1).replace(/[.,;:!?]+$/, "");
  const url = safeUrl(shown);
  return url && !options.inLink ? [[link(url, shown)], index + shown.length] : null;
}
