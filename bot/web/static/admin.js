// The administrators' page: which days, which sections, and when they were read.

import { announce, h } from "./dom.js";
import { get, post, ZONE } from "./admin-api.js";
import * as figures from "./admin-figures.js";
import { time } from "./admin-format.js";
import * as lists from "./admin-lists.js";
import { votes } from "./admin-votes.js";

const SECTIONS = [
  figures.tiles, figures.questions, figures.satisfaction, figures.latency, figures.cost, lists.gaps, lists.cited,
  votes, lists.sources, lists.runs, figures.guard, lists.approvals, lists.audit,
];
const SPANS = ["1", "7", "30", "90"];
const OF_DAYS = /^(overview|gaps|guard|spending)/;

const sections = document.getElementById("sections");
const contents = document.getElementById("contents");
const span = document.getElementById("span");

/** Asks the API about the days that are chosen. Sections that need the same share one answer. */
function loader(days) {
  const first = new Map();
  return (path, parameters = {}) => {
    const given = OF_DAYS.test(path) ? { days, zone: ZONE, ...parameters } : parameters;
    if (Object.keys(parameters).length || !["overview", "spending"].includes(path)) return get(path, given);
    if (!first.has(path)) first.set(path, get(path, given).catch((error) => {
      first.delete(path); // "Try again" asks again
      throw error;
    }));
    return first.get(path);
  };
}

function chosen() {
  return span.querySelector("input:checked").value;
}

async function read(which = SECTIONS) {
  const load = loader(chosen());
  await Promise.all(which.map((section) => section.show(load)));
  document.getElementById("read").textContent = `Read at ${time(Date.now())}; times are in ${ZONE}.`;
}

async function greet() {
  try {
    const { name, leaves } = await get("me");
    document.getElementById("who").textContent = name;
    document.getElementById("leave").hidden = !leaves;
  } catch {
    // the sections say what is wrong
  }
}

const asked = new URLSearchParams(location.search).get("days");
if (SPANS.includes(asked)) span.querySelector(`input[value="${asked}"]`).checked = true;
span.addEventListener("change", () => {
  history.replaceState(null, "", `?days=${chosen()}${location.hash}`);
  announce("Reading…");
  read().then(() => announce("The figures are of the days that you chose."));
});

document.getElementById("refresh").addEventListener("click", () => read().then(() => announce("Everything was read again.")));
document.getElementById("leave").addEventListener("click", async () => {
  await post("leave").catch(() => null);
  location.reload();
});

sections.append(...SECTIONS.map((section) => section.element));
contents.append(h("ul", {}, ...SECTIONS.slice(1).map(({ id, title }) => h("li", {}, h("a", { href: `#${id}` }, title)))));

/** The section that is being looked at is marked in the contents. */
const seen = new Map();
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) seen.set(entry.target.id, entry.isIntersecting);
  const now = SECTIONS.find(({ id }) => seen.get(id))?.id;
  for (const anchor of contents.querySelectorAll("a")) {
    if (anchor.hash === `#${now}`) anchor.setAttribute("aria-current", "true");
    else anchor.removeAttribute("aria-current");
  }
}, { rootMargin: "-80px 0px -55% 0px" });
for (const { element } of SECTIONS) watch.observe(element);

greet();
read().then(() => document.getElementById(location.hash.slice(1))?.scrollIntoView());
