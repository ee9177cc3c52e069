// What votes taught: which version orders the passages, what is tried and what that proves, and the versions there are.

import { announce, h } from "./dom.js";
import { post } from "./admin-api.js";
import { s } from "./admin-chart.js";
import * as f from "./admin-format.js";
import { runs } from "./admin-lists.js";
import { asking, bar, button, chip, goesOn, nothing, Section, table } from "./admin-parts.js";

const SHOWN = 6; // versions, and questions of one
const STATES = { candidate: "waits", canary: "tried", promoted: "in force", retired: "retired", refused: "refused" };
const PLANS = {
  promote: "A proven gain orders the passages at once.",
  canary: "A proven gain is first tried on a share of the conversations.",
  wait: "A proven gain waits until somebody promotes it.",
};
const DECIDES = {
  on: "Votes promote it or take it back as soon as either is proven.",
  rollback: "Votes take it back as soon as its harm is proven; to promote it is up to you.",
  off: "To promote it or take it back is up to you.",
};

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
const times = (value) => (value < 1_000 ? value.toFixed(1) : "over 1,000");
const upOf = ({ up, down }) => (up + down ? up / (up + down) : null);

/** Do it, say what came of it, and show everything as it is now. */
function doing(act, body, load, section) {
  return async () => {
    announce((await post(`preferences/${act}`, body)).text);
    await section.show(load, true);
    if (act === "learn") runs.show(runs.load ?? load, true);
  };
}

function standing(found) {
  if (found.settings.preferences === "off") return "Votes have no say in the order of passages: ALMANAC_PREFERENCES is off.";
  const now = found.promoted === null ? ["Votes have no say in the order of passages"] : ["Version ", h("b", {}, String(found.promoted)), " orders the passages"];
  const tried = found.versions.find(({ version }) => version === found.canary);
  const more = tried ? [", and version ", h("b", {}, String(tried.version)), ` is tried on ${f.percent(tried.share)} of the conversations`] : [];
  return [...now, ...more, `. ${f.many(found.new_votes, "new vote")} since the newest version.`];
}

/** A purse of 1 is on the left, what decides on the right; each step along the way is as many times as much. */
function purse(name, value, needed) {
  const full = value >= needed;
  const part = Math.log(Math.max(1, value)) / Math.log(needed);
  return h("li", { class: full ? "decided" : null }, h("span", {}, name), h("span", { class: "number" }, `${times(value)} to 1`), bar([part], "meter"), h("span", { class: "fine" }, full ? "proven" : `${f.count(needed)} to 1 decides`));
}

function trial(found) {
  const { trial: tried, settings } = found;
  if (!tried?.proof) return null;
  const { proof, version } = tried;
  const row = (arm, title) => {
    const { answers = 0, up = 0, down = 0 } = tried[arm] ?? {};
    return { title, answers, up, down, ...proof[arm], conversationsUp: proof[arm].up, thumbs: { up, down } };
  };
  const rows = [row("canary", `With version ${version}`), row("control", "Without it")];
  const share = (value) => (value === null ? "–" : f.percent(value));
  const ended = { promote: `Votes have promoted version ${version}.`, rollback: `Votes have taken version ${version} back.` }[proof.decision];
  const few = proof.canary.conversations < proof.least.conversations || proof.canary.voters < proof.least.voters;
  const least = few && !ended ? ` It takes ${proof.least.conversations} conversations and ${proof.least.voters} voters with it at least; there are ${proof.canary.conversations} and ${proof.canary.voters}.` : "";
  const open = found.canary === version;
  return h("div", { class: "trial" },
    h("h3", {}, open ? `Version ${version} on trial` : `The last trial, of version ${version}`),
    table("Thumbs while a version is tried", [
      { title: "Conversations", cell: (one) => one.title },
      { title: "", kind: "bars", cell: (one) => bar([upOf(one.thumbs) ?? 0]) },
      { title: "Thumbs up", kind: "number", cell: (one) => share(upOf(one.thumbs)) },
      { title: "Good", kind: "number", cell: (one) => f.count(one.thumbs.up) },
      { title: "Bad", kind: "number", cell: (one) => f.count(one.thumbs.down) },
      { title: "Answers", kind: "number", cell: (one) => f.count(one.answers) },
      { title: "First thumb up", kind: "number", cell: (one) => `${f.count(one.conversationsUp)} of ${f.count(one.conversations)}` },
    ], rows),
    h("ul", { class: "caps purses", "aria-label": "Evidence" }, purse("Evidence for it", proof.good, proof.needed), purse("Evidence against it", proof.harm, proof.needed)),
    h("p", { class: "fine" }, ended ?? (open ? DECIDES[settings.decide] : ""), least, " Since ", f.at(proof.since), "; a conversation counts once, by its first thumb."),
  );
}

/** The gain and the interval that it lies in, on one scale for all versions; the line is no gain. */
function whisker({ gain, interval }, [low, high]) {
  const x = (value) => `${((value - low) / (high - low)) * 100}%`;
  return s("svg", { class: `whisker ${interval[0] > 0 ? "sure" : ""}`.trim(), "aria-hidden": "true" },
    s("line", { class: "none", x1: x(0), x2: x(0), y1: "0", y2: "100%" }),
    s("line", { class: "span", x1: x(interval[0]), x2: x(interval[1]), y1: "50%", y2: "50%" }),
    s("circle", { cx: x(gain), cy: "50%", r: "4" }));
}

function scale(versions) {
  const ends = versions.flatMap(({ held_out: found }) => found?.interval ?? []);
  const low = Math.min(0, ...ends);
  const high = Math.max(0, ...ends);
  const room = 0.06 * (high - low) || 1;
  return [low - room, high + room];
}

const named = ({ title, section }) => [title, ...(section && section !== title ? [section.split(" > ").at(-1)] : [])].join(" › ");

function change({ question, before, after, because }) {
  const why = because.votes ? `${f.many(because.votes, "vote")} of ${f.many(because.people, "person", "people")}: ${f.count(because.up)} good, ${f.count(because.down)} bad` : "what people prefer in general";
  return h("li", {}, h("q", {}, question), h("p", { class: "turned" }, h("s", {}, named(before[0])), " → ", h("b", {}, named(after[0]))), h("span", { class: "about" }, why));
}

/** What a version changes, read when somebody wants to know. */
function changes(row, load) {
  const body = h("div", {});
  const details = h("details", {}, h("summary", {}, row.reason ?? `What version ${row.version} changes`), body);
  details.addEventListener("toggle", async () => {
    if (!details.open || body.childElementCount) return;
    try {
      const { report, newest } = await load(`preferences/${row.version}`);
      const { votes: of, changes: found } = report;
      const first = found.questions.filter(({ before, after }) => before[0].key !== after[0].key);
      const list = h("ol", { class: "asked" }, ...first.slice(0, SHOWN).map(change));
      const made = `Made of ${f.many(of.counted, "vote")} (${f.count(of.up)} good, ${f.count(of.down)} bad) of ${f.many(of.voters, "person", "people")} on ${f.many(of.questions, "question")}.`;
      const late = newest ? ` On the newest questions: ${signed(newest.gain)} (${newest.interval.map(signed).join(" to ")}).` : "";
      body.append(h("p", { class: "fine" }, made, late, ` Of ${f.many(found.looked_at, "question")} ${f.count(found.first_changed)} begin with another passage.`), list,
        goesOn(first.length > SHOWN, async () => {
          list.append(...first.slice(SHOWN).map(change));
          return false;
        }) ?? "");
    } catch (error) {
      body.replaceChildren(h("p", { class: "wrong" }, error.message));
    }
  });
  return h("tr", { class: "below" }, h("td", { colspan: "6" }, details));
}

function acts(row, found, load, section) {
  if (["refused", "promoted"].includes(row.state) || found.settings.preferences === "off") return null;
  const { version } = row;
  const promote = asking("Promote", `Let version ${version} order the passages of all questions?`, doing("promote", { version }, load, section));
  if (row.state === "canary") return promote;
  const { share } = found.settings;
  const other = found.canary === null ? "" : ` Version ${found.canary} is tried no more, then.`;
  return [promote, asking(`Try on ${f.percent(share)}`, `Let version ${version} order the passages of ${f.percent(share)} of the conversations?${other}`, doing("canary", { version, share }, load, section))];
}

function versionTable(found, rows, load, section) {
  const ends = scale(found.versions);
  const gain = ({ held_out: worth }) => (worth ? [h("span", { class: "number" }, signed(worth.gain)), h("span", { class: "place" }, worth.interval.map(signed).join(" to "))] : h("span", { class: "muted" }, "too few votes"));
  return table("Versions", [
    { title: "Version", kind: "one-line", cell: (row) => [h("b", {}, String(row.version)), " ", chip(STATES[row.state], `version-${row.state}`)] },
    { title: "Learned", cell: (row) => [f.when(row.created_at), row.promoted_at ? h("span", { class: "place" }, "promoted ", f.when(row.promoted_at)) : null] },
    { title: "Votes", kind: "number", cell: (row) => [f.count(row.votes), h("span", { class: "place" }, f.many(row.voters, "person", "people"))] },
    { title: "Gain", kind: "one-line", cell: gain },
    { title: "", kind: "bars", cell: (row) => (row.held_out ? whisker(row.held_out, ends) : "") },
    { title: "", kind: "act", cell: (row) => acts(row, found, load, section) ?? "" },
  ], rows, (row) => changes(row, load));
}

/** What may be done about all of it. */
function buttons(found, load, section) {
  const learn = button("Learn now", doing("learn", {}, load, section), "quiet");
  const last = found.canary ?? found.promoted;
  if (last === null) return h("div", { class: "deeds" }, learn);
  const back = asking("Take the last step back", `Take version ${last} back? What is learned next waits for somebody's word, then.`, doing("rollback", {}, load, section));
  const all = asking("Take everything back", "Let votes have no say in the order of passages?", doing("rollback", { all: true }, load, section));
  return h("div", { class: "deeds" }, learn, back, all);
}

export const votes = new Section("votes", "What votes taught", "Votes teach which passages come first. A version counts only if it is a gain on votes that it was not learned from.", async (load, section) => {
  const found = await load("preferences");
  const deeds = found.settings.preferences === "off" ? null : buttons(found, load, section);
  if (!found.versions.length) {
    const why = found.settings.preferences === "off" ? "Votes have no say in the order of passages: ALMANAC_PREFERENCES is off." : "Nothing was learned from votes yet.";
    return [nothing(why), found.new_votes ? deeds : null];
  }
  const shown = found.versions.slice(0, SHOWN);
  const frame = h("div", {}, versionTable(found, shown, load, section));
  const more = goesOn(found.versions.length > SHOWN, async () => {
    frame.replaceChildren(versionTable(found, found.versions, load, section));
    return false;
  });
  return [
    h("p", { class: "lead" }, standing(found)),
    deeds,
    trial(found),
    frame,
    more,
    h("p", { class: "fine" }, PLANS[found.settings.preferences] ?? "", " The gain is told in discounted ranks, with the interval that holds it 99 times of 100."),
  ];
});
