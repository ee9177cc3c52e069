// Sections of things: gaps, documents, sources, runs, approvals, the audit.

import { announce, h, link, safeUrl } from "./dom.js";
import { post, save } from "./admin-api.js";
import * as f from "./admin-format.js";
import { bar, button, chip, goesOn, nothing, Section, table } from "./admin-parts.js";

const POLL = 4_000; // while a run goes on

/** Questions in the same words are one line that says how often they were asked. */
function asked(questions) {
  const same = new Map();
  for (const question of questions) {
    const words = question.question.trim().toLowerCase();
    same.set(words, [...(same.get(words) ?? []), question]);
  }
  return [...same.values()].map((some) => {
    const outcomes = [...new Set(some.map(({ outcome }) => outcome))].map((name) => chip(f.outcome(name), `of-${name}`));
    const down = some.filter((question) => question.voted_down).length;
    const times = some.length > 1 ? `asked ${f.count(some.length)} times, last ` : null;
    const about = [...outcomes, down ? chip(`Voted down${down > 1 ? ` ${f.count(down)} times` : ""}`, "of-down") : null, h("span", {}, times, f.when(some[0].at))];
    const reasons = [...new Set(some.map(({ reason }) => reason).filter(Boolean))];
    return h("li", {}, h("q", {}, some[0].question), h("span", { class: "about" }, ...about.filter(Boolean)), ...reasons.map((reason) => h("p", { class: "reason-given" }, `“${reason}”`)));
  });
}

function gap(found) {
  const { name, questions } = found;
  const cases = button("Save as evaluation cases", async () => {
    await save("gaps/cases", { answers: questions.map((question) => question.answer_id) }, "cases.jsonl");
    announce("Saved.");
  });
  return h("details", { class: "gap" },
    h("summary", {}, h("span", { class: "count" }, f.count(questions.length)), h("span", { class: "name" }, name), h("span", { class: "fine" }, f.when(questions[0].at))),
    h("ol", { class: "asked" }, ...asked(questions)), cases);
}

export const gaps = new Section("gaps", "Knowledge gaps", "Questions that the documents left open or whose answer was voted down, put together where they ask for the same.", async (load) => {
  const found = await load("gaps");
  if (!found.count) return nothing("Every question of these days was answered, and no answer was voted down.");
  const list = h("div", { class: "gaps" }, ...found.gaps.map(gap));
  const shown = [...found.gaps];
  const more = goesOn(shown.length < found.count, async () => {
    const next = await load("gaps", { offset: shown.length });
    shown.push(...next.gaps);
    list.append(...next.gaps.map(gap));
    return next.gaps.length > 0 && shown.length < next.count;
  });
  const newest = found.newest_only ? ", the newest of them" : "";
  return [h("p", { class: "lead" }, h("b", {}, f.many(found.questions, "open question")), `${newest}, in ${f.many(found.count, "group")}.`), list, more];
});

export const cited = new Section("cited", "Most cited documents", "In how many answers, and how these were voted.", async (load) => {
  const { cited: rows } = await load("overview");
  if (!rows.length) return nothing("No answer of these days cites a document.");
  const most = Math.max(...rows.map((row) => row.answers));
  const title = (row) => (safeUrl(row.url) ? link(row.url, row.title) : row.title);
  return table("Most cited documents", [
    { title: "Document", cell: title },
    { title: "", kind: "bars", cell: (row) => bar([row.answers / most]) },
    { title: "Answers", kind: "number", cell: (row) => f.count(row.answers) },
    { title: "Good", kind: "number", cell: (row) => f.count(row.up) },
    { title: "Bad", kind: "number", cell: (row) => f.count(row.down) },
  ], rows);
});

const DRIFT = { missing: "missing here", changed: "changed there", access: "other readers", gone: "gone there" };

function drift(row) {
  if (!row.reconciled_at) return h("span", { class: "muted" }, "not compared yet");
  const parts = Object.entries(row.drift ?? {}).filter(([, number]) => number > 0).map(([name, number]) => `${f.count(number)} ${DRIFT[name] ?? name}`);
  return h("span", {}, parts.length ? parts.join(", ") : "none", h("span", { class: "place" }, "compared ", f.when(row.reconciled_at)));
}

function failed(row, load) {
  if (!row.failures && !row.error) return null;
  const list = h("ul", { class: "failures" });
  const details = h("details", {}, h("summary", {}, [row.error ? "The last sync failed" : "", row.failures ? f.many(row.failures, "document could not be read", "documents could not be read") : ""].filter(Boolean).join("; ")), row.error ? h("p", { class: "wrong" }, row.error) : null, list);
  let known = 0;
  const next = async () => {
    const found = await load(`sources/${row.id}/failures`, { offset: known });
    known += found.failures.length;
    list.append(...found.failures.map((one) => h("li", {}, h("code", {}, one.external_id), ` ${one.reason} `, h("span", { class: "fine" }, f.many(one.attempts, "attempt"), ", ", f.when(one.failed_at), ...(one.next_at ? [", again ", f.when(one.next_at)] : [])))));
    return found.more;
  };
  details.addEventListener("toggle", async () => {
    if (!details.open || known || !row.failures) return;
    try {
      details.append(goesOn(await next(), next) ?? "");
    } catch (error) {
      list.replaceChildren(h("li", { class: "wrong" }, error.message));
    }
  });
  return h("tr", { class: "below" }, h("td", { colspan: "6" }, details));
}

export const sources = new Section("sources", "Sources", "What is read, how much of it failed, and how far it has drifted from its place.", async (load) => {
  const { sources: rows } = await load("sources");
  if (!rows.length) return nothing("There are no sources yet; almanac sources add, in the terminal or in chat, adds one.");
  const sync = (row) => row.kind === "upload" ? null : button("Read again", async (pressed) => {
    const { text } = await post(`sources/${row.id}/sync`);
    pressed.after(h("p", { class: "done", role: "status" }, text));
    runs.show(runs.load ?? load, true);
  });
  return table("Sources", [
    { title: "Source", kind: "broad", cell: (row) => [h("b", {}, row.name), " ", chip(row.kind), row.error ? chip("failing", "of-failed") : null, h("span", { class: "place" }, row.location)] },
    { title: "Documents", kind: "number", cell: (row) => f.count(row.documents) },
    { title: "Failures", kind: "number", cell: (row) => f.count(row.failures) },
    { title: "Last read", cell: (row) => [f.when(row.synced_at), row.next_sync_at ? h("span", { class: "place" }, "next ", f.when(row.next_sync_at)) : null] },
    { title: "Drift", cell: drift },
    { title: "", kind: "act", cell: sync },
  ], rows, (row) => failed(row, load));
});

const KINDS = { ingest: "Read", remove_source: "Remove a source", reconcile: "Compare with the source", learn: "Learn from votes" };
const GOING = new Set(["queued", "running"]);

function progress({ progress: of, state }) {
  if (!of.total) return "";
  const text = `${f.count(of.done ?? 0)} of ${f.count(of.total)}`;
  return [state === "running" ? bar([(of.done ?? 0) / of.total]) : null, text, of.failed ? `, ${f.count(of.failed)} failed` : ""];
}

function took(row) {
  if (!row.started_at) return row.not_before ? f.when(row.not_before) : "waits";
  const end = row.finished_at ? new Date(row.finished_at) : new Date();
  return f.duration((end - new Date(row.started_at)) / 1_000);
}

export const runs = new Section("runs", "Runs", "Work in the background, the newest first.", async (load, section) => {
  const found = await load("runs", { limit: 8 });
  if (!found.runs.length) return nothing("Nothing has run yet.");
  const retry = (row) => row.state !== "failed" && row.state !== "cancelled" ? null : button("Try again", async () => {
    announce((await post(`runs/${row.id}/retry`)).text);
    await section.show(load, true);
  });
  const draw = (rows) => table("Runs", [
    { title: "Run", kind: "broad", cell: (row) => [h("b", {}, KINDS[row.kind] ?? row.kind.replaceAll("_", " ")), row.source ? ` ${row.source}` : "", h("span", { class: "place" }, row.id.slice(0, 8))] },
    { title: "State", cell: (row) => [chip(row.state, `run-${row.state}`), row.error ? h("p", { class: "wrong" }, row.error) : null] },
    { title: "Done", cell: progress },
    { title: "Begun", cell: (row) => f.when(row.created_at) },
    { title: "Took", kind: "number", cell: took },
    { title: "", kind: "act", cell: retry },
  ], rows);
  const shown = [...found.runs];
  const frame = h("div", {}, draw(shown));
  const more = goesOn(found.more, async () => {
    const next = await load("runs", { limit: 20, before: shown.at(-1).id });
    shown.push(...next.runs);
    frame.replaceChildren(draw(shown));
    return next.more;
  });
  clearTimeout(section.timer);
  if (found.runs.some((row) => GOING.has(row.state))) section.timer = setTimeout(() => again(section, load, shown), POLL);
  return [frame, more];
});

/** Look again, unless nobody looks, or somebody reads on in older ones. */
function again(section, load, shown) {
  const reading = document.hidden || shown.length > 8 || section.body.contains(document.activeElement);
  if (reading) section.timer = setTimeout(() => again(section, load, shown), POLL);
  else section.show(load, true);
}

function call(row) {
  const lines = row.rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("code", {}, value))));
  return [h("b", {}, row.title), h("code", { class: "call" }, row.call), lines.length ? h("dl", { class: "arguments" }, ...lines) : null, row.private ? h("p", { class: "fine" }, "Its arguments come from a private answer and are not shown.") : null];
}

export const approvals = new Section("approvals", "Approvals", "Calls that wait for somebody's word. They are decided where they were asked for, or in the terminal with almanac approvals.", async (load) => {
  const { waiting, over } = await load("approvals");
  const draw = (title, rows, last) => table(title, [
    { title: "Call", kind: "broad", cell: call },
    { title: "Asked by", cell: (row) => f.person(row.requester.includes(":") ? {} : { label: row.requester }, row.requester.includes(":") ? row.requester : `${row.platform}:`) },
    { title: "Since", cell: (row) => f.when(row.created_at) },
    last,
  ], rows);
  const open = waiting.length
    ? draw("Waiting for approval", waiting, { title: "Lapses", cell: (row) => f.when(row.expires_at) })
    : nothing("Nothing waits for approval.");
  if (!over.length) return open;
  const decided = draw("Decided lately", over, { title: "State", cell: (row) => [chip(row.state, `approval-${row.state}`), h("p", { class: "fine" }, row.status)] });
  return [open, h("details", { class: "older" }, h("summary", {}, "Decided lately"), decided)];
});

export const audit = new Section("audit", "Audit", "Who changed what.", async (load) => {
  const found = await load("audit", { limit: 10 });
  if (!found.entries.length) return nothing("Nobody has changed anything yet.");
  const details = (row) => Object.entries(row.details).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
  const draw = (rows) => table("Audit", [
    { title: "When", cell: (row) => f.at(row.at) },
    { title: "Who", cell: (row) => [f.person(row), row.person.startsWith(`${row.platform}:`) ? null : h("span", { class: "fine" }, ` by ${f.platform(row.platform)}`)] },
    { title: "What", cell: (row) => h("b", {}, row.action) },
    { title: "On", cell: (row) => [row.target ? h("span", { class: "target" }, row.target) : "–", h("span", { class: "place" }, details(row))] },
  ], rows);
  const shown = [...found.entries];
  const frame = h("div", {}, draw(shown));
  const more = goesOn(found.more, async () => {
    const next = await load("audit", { limit: 20, before: shown.at(-1).id });
    shown.push(...next.entries);
    frame.replaceChildren(draw(shown));
    return next.more;
  });
  return [frame, more];
});
