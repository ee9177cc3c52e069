// Sections of figures: questions, satisfaction, latency, cost, guard.

import { h } from "./dom.js";
import { Columns } from "./admin-chart.js";
import * as f from "./admin-format.js";
import { bar, goesOn, nothing, Section, table } from "./admin-parts.js";

const STAGES = {
  total: "Whole answer", first_shown: "First words", rewrite: "Rewriting", search: "Search", hidden: "Hidden matches",
  first_token: "First token", write: "Writing", check: "Checking", route: "Choosing a tool", cache: "Answers kept",
};
const named = (stage) => STAGES[stage] ?? stage[0].toUpperCase() + stage.slice(1).replaceAll("_", " ");

const chartOf = (slots, series, more) => new Columns({ series, rows: slots.map((row) => ({ ...f.slot(row.at), ...row })), ...more }).element;
const answeredOf = (sums) => (sums.questions ? (sums.outcomes.answered ?? 0) / sums.questions : null);
const likedOf = (sums) => (sums.up + sums.down ? sums.up / (sums.up + sums.down) : null);

function tile(label, value, note = "") {
  return h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, value), note ? h("dd", { class: "fine" }, note) : null);
}

/** How a share, or a number, has changed since as many days before. */
function change(now, then, days) {
  if (now === null || then === null || !then) return "";
  const by = days === undefined ? (now - then) * 100 : (now / then - 1) * 100;
  const sign = by > 0 ? "+" : by < 0 ? "−" : "±";
  return `${sign}${f.count(Math.abs(Math.round(by)))} ${days === undefined ? "points" : "%"} vs the days before`;
}

export const tiles = new Section("summary", "In short", "", async (load) => {
  const [{ total, before, latency, days, index }, cost] = await Promise.all([load("overview"), load("spending")]);
  const whole = latency.find(({ stage }) => stage === "total");
  return h("dl", { class: "tiles" },
    tile("Questions", f.count(total.questions), [f.many(total.people, "person", "people"), change(total.questions, before.questions, days)].filter(Boolean).join(", ")),
    tile("Answered", total.questions ? f.share(answeredOf(total)) : "–", change(answeredOf(total), answeredOf(before))),
    tile("Satisfied", likedOf(total) === null ? "–" : f.share(likedOf(total)), likedOf(total) === null ? "no votes yet" : `of ${f.many(total.up + total.down, "vote")}`),
    tile("Median time", whole ? f.milliseconds(whole.p50_ms) : "–", whole ? `95 %: ${f.milliseconds(whole.p95_ms)}` : ""),
    tile("Cost", f.money(cost.total.usd), `${f.brief(cost.total.prompt_tokens + cost.total.completion_tokens)} tokens`),
    tile("Documents", f.count(index.documents), f.many(index.sources, "source")),
  );
});

export const questions = new Section("questions", "Questions", "What became of them.", async (load) => {
  const { slots, total, platforms, days } = await load("overview");
  if (!total.questions) return nothing(days === 1 ? "Nobody has asked anything today." : "Nobody asked anything in these days.");
  const rows = slots.map((row) => ({ ...row, values: row.outcomes }));
  const series = f.OUTCOMES.map(([key, label]) => ({ key, label }));
  const chart = chartOf(rows, series, {
    title: days === 1 ? "Questions by the hour, by outcome" : "Questions by the day, by outcome",
    description: `${f.count(total.questions)} questions; ${f.share(answeredOf(total))} were answered.`,
    say: (row) => [`${f.many(row.questions, "question")} of ${f.many(row.people, "person", "people")}`],
  });
  const where = platforms.map(({ name, questions: number }) => `${f.platform(name)} ${f.count(number)}`).join(" · ");
  return [chart, h("p", { class: "fine" }, `Asked on: ${where}`)];
});

export const satisfaction = new Section("satisfaction", "Satisfaction", "Thumbs under answers, on the day of the question.", async (load) => {
  const { slots, total } = await load("overview");
  if (!(total.up + total.down)) return nothing("Nobody has voted on an answer of these days.");
  const rows = slots.map((row) => ({ ...row, values: { up: row.up, down: row.down } }));
  const series = [{ key: "up", label: "Good" }, { key: "down", label: "Bad", below: true }];
  const title = "Votes on answers, good above the line and bad below";
  return chartOf(rows, series, { title, description: `${f.share(likedOf(total))} of ${f.count(total.up + total.down)} votes are good.` });
}, false);

export const latency = new Section("latency", "Latency by stage", "The full bar ends at the median, the pale one where 95 % of the questions are done.", async (load) => {
  const { latency: stages } = await load("overview");
  if (!stages.length) return nothing("No question of these days has told its times.");
  const whole = stages.filter(({ stage }) => stage === "total");
  const rows = [...whole, ...stages.filter(({ stage }) => stage !== "total")];
  const most = Math.max(...rows.map((row) => row.p95_ms), 1);
  return table("Latency by stage", [
    { title: "Stage", cell: (row) => named(row.stage) },
    { title: "", kind: "bars", cell: (row) => bar([row.p50_ms / most, row.p95_ms / most]) },
    { title: "Median", kind: "number", cell: (row) => f.milliseconds(row.p50_ms) },
    { title: "95 %", kind: "number", cell: (row) => f.milliseconds(row.p95_ms) },
    { title: "Questions", kind: "number", cell: (row) => f.count(row.questions) },
  ], rows);
}, false);

const WINDOWS = { person: "a person, today", channel: "a channel, today", day: "Everybody, today", month: "Everybody, this month" };

function cap(use) {
  const who = use.name ? [f.person(use, use.name), `, ${WINDOWS[use.scope]}`] : WINDOWS[use.scope];
  const parts = [];
  if (use.cap_usd !== null || !use.cap_tokens) parts.push(use.cap_usd === null ? f.money(use.usd) : `${f.money(use.usd)} of ${f.money(use.cap_usd)}`);
  if (use.cap_tokens !== null) parts.push(`${f.brief(use.tokens)} of ${f.brief(use.cap_tokens)} tokens`);
  const none = use.cap_usd === null && use.cap_tokens === null;
  const kind = use.share >= 1 ? "full" : use.share >= 0.8 ? "near" : "";
  const state = none ? "no cap" : f.percent(use.share);
  return h("li", { class: kind }, h("span", {}, who), h("span", { class: "number" }, parts.join(", ")), none ? null : bar([use.share], `meter ${kind}`), h("span", { class: "fine" }, state));
}

function split(by, title, cell, found, load) {
  const { rows, count: number } = found.by[by];
  if (!rows.length) return null;
  const all = found.total.usd || rows.reduce((sum, row) => sum + row.prompt_tokens + row.completion_tokens, 0) || 1;
  const part = (row) => (found.total.usd ? row.usd : row.prompt_tokens + row.completion_tokens) / all;
  const draw = (some) => table(`Cost by ${by}`, [
    { title, cell, kind: "whose" },
    { title: "", kind: "bars", cell: (row) => bar([part(row)]) },
    { title: "Cost", kind: "number", cell: (row) => f.money(row.usd) },
    { title: "Tokens", kind: "number", cell: (row) => f.brief(row.prompt_tokens + row.completion_tokens) },
    { title: "Answers", kind: "number", cell: (row) => f.count(row.answers) },
  ], some);
  const shown = [...rows];
  const frame = h("div", { class: "split" }, h("h3", { class: "narrow" }, title), draw(shown));
  const more = goesOn(shown.length < number, async () => {
    shown.push(...(await load(`spending/${by}`, { offset: shown.length })).rows);
    frame.querySelector(".table").replaceWith(draw(shown));
    return shown.length < number;
  });
  if (more) frame.append(more);
  return frame;
}

export const cost = new Section("cost", "Cost", "What model calls cost, and how far the caps are used.", async (load) => {
  const found = await load("spending");
  const caps = h("ul", { class: "caps", "aria-label": "Caps" }, ...found.caps.map(cap));
  if (!found.total.calls) return [caps, nothing("No model was called in these days: answers out of the documents cost nothing.")];
  const known = new Map(found.days.map((row) => [row.name, row]));
  const { slots, days } = await load("overview");
  const spans = days === 1 ? found.days.map((row) => ({ at: row.name })) : slots;
  const rows = spans.map(({ at }) => ({ at, values: { cost: known.get(at)?.usd ?? 0 }, calls: known.get(at)?.calls ?? 0 }));
  const chart = days === 1 ? null : chartOf(rows, [{ key: "cost", label: "US dollars" }], {
    title: "Cost by the day", description: `${f.money(found.total.usd)} for ${f.count(found.total.calls)} calls.`,
    format: f.money, fraction: true, say: (row) => [f.many(row.calls, "call")],
  });
  const name = (row) => row.name || "–";
  return [
    h("p", { class: "lead" }, h("b", {}, f.money(found.total.usd)), ` for ${f.many(found.total.calls, "call")} in ${f.many(found.total.answers, "answer")}; ${f.brief(found.total.cached_tokens)} of ${f.brief(found.total.prompt_tokens)} prompt tokens came from the model's cache.`),
    caps,
    found.total.usd ? chart : null,
    h("div", { class: "splits" },
      split("model", "Model", name, found, load),
      split("purpose", "Purpose", name, found, load),
      split("person", "Person", (row) => f.person(row), found, load),
      split("channel", "Channel", (row) => (row.name ? f.person(row) : "No channel"), found, load)),
  ];
});

export const guard = new Section("guard", "Guard", "Questions that the guard refused, and those that a cap or a limit turned away.", async (load) => {
  const found = await load("guard", { limit: 8 });
  const { refused = 0, over_limit: over = 0 } = found.outcomes;
  const counted = [...found.verdicts.map((row) => `${row.where} ${row.verdict} ${f.count(row.count)}`), ...found.caps.map((row) => `cap of ${row.cap} ${f.count(row.count)}`)];
  const process = counted.length ? h("p", { class: "fine" }, `Since this process began: ${counted.join(" · ")}`) : null;
  if (!refused && !over) return [nothing("No question of these days was turned away."), process];
  const rows = found.slots.map((row) => ({ ...row, values: row.outcomes }));
  const series = f.OUTCOMES.filter(([key]) => key === "refused" || key === "over_limit").map(([key, label]) => ({ key, label }));
  const chart = chartOf(rows, series, { title: "Questions that were turned away", description: `${f.count(refused)} refused by the guard, ${f.count(over)} over a limit.` });
  const list = h("ol", { class: "asked" }, ...found.questions.map(turnedAway));
  const more = goesOn(found.more, async () => {
    const next = await load("guard", { limit: 20, before: found.questions.at(-1).id });
    found.questions = next.questions;
    list.append(...next.questions.map(turnedAway));
    return next.more;
  });
  const people = table("Who was turned away most", [
    { title: "Person", cell: (row) => f.person(row) },
    { title: "By the guard", kind: "number", cell: (row) => f.count(row.refused) },
    { title: "By a limit", kind: "number", cell: (row) => f.count(row.over_limit) },
  ], found.people);
  return [chart, h("div", { class: "splits" }, h("div", {}, h("h3", {}, "Newest"), list, more), h("div", {}, h("h3", {}, "Who was turned away most"), people)), process];
});

const turnedAway = (row) => h("li", {}, h("q", {}, row.question), h("span", { class: "about" }, h("span", { class: `chip of-${row.outcome}` }, f.outcome(row.outcome)), f.platform(row.platform), f.when(row.at)));
