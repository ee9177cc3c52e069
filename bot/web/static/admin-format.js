// Numbers, money, times and names as people read them. Times are in the viewer's zone.

import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const part = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const cents = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 4 });
const moment = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const precise = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayShort = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const dayLong = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", timeZone: "UTC" });

export const count = (value) => whole.format(value);
export const brief = (value) => (value < 10_000 ? whole.format(value) : short.format(value));
export const share = (value) => part.format(value);
export const percent = (value) => (value !== 0 && Math.abs(value) < 0.1 ? fine : part).format(value);
export const money = (value) => (value >= 0.01 || value === 0 ? dollars : cents).format(value);
export const time = (value) => clock.format(new Date(value));

/** "1 document", "2,000 documents". */
export function many(number, one, more = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

export function milliseconds(value) {
  if (value < 1_000) return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  return value < 60_000 ? `${(value / 1_000).toFixed(value < 10_000 ? 2 : 1)} s` : duration(value / 1_000);
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 36 * 3_600 ? `${(seconds / 3_600).toFixed(1)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** A moment: how long ago (or in how long) where that is near, else its date; in full on hover. */
export function when(value, never = "never") {
  if (!value) return h("span", { class: "muted" }, never);
  const date = new Date(value);
  const seconds = (Date.now() - date) / 1_000;
  const far = Math.abs(seconds) > 36 * 3_600;
  const long = Math.abs(seconds) < 90 * 60 ? duration(Math.abs(seconds)) : `${Math.round(Math.abs(seconds) / 3_600)} h`;
  const text = far ? moment.format(date) : Math.abs(seconds) < 5 ? "now" : seconds > 0 ? `${long} ago` : `in ${long}`;
  return h("time", { datetime: date.toISOString(), title: precise.format(date) }, text);
}

export function at(value) {
  const date = new Date(value);
  return h("time", { datetime: date.toISOString(), title: precise.format(date) }, moment.format(date));
}

/** A slot of a chart ("2026-11-03" or "2026-11-03T14:00", told in the viewer's zone): for the axis, and in full. */
export function slot(value) {
  const hour = value.slice(11);
  const day = new Date(`${value.slice(0, 10)}T00:00:00Z`);
  return hour ? { axis: hour, full: `${hour}, ${dayLong.format(day)}` } : { axis: dayShort.format(day), full: dayLong.format(day) };
}

const PLATFORMS = { slack: "Slack", teams: "Teams", web: "Web page", terminal: "Terminal", mcp: "MCP", worker: "Almanac itself" };
export const platform = (name) => PLATFORMS[name] ?? name;

/** What people call somebody, and where; else the platform's id, shortened. All of the id is there on hover. */
export function person(row, id = row.person ?? row.name) {
  if (!id) return h("span", { class: "muted" }, row.label || "nobody");
  const [where, ...rest] = id.split(":");
  if (row.label) return h("span", { title: id }, `${row.label} `, h("span", { class: "fine" }, platform(where)));
  return h("span", { title: id, class: "id" }, `${platform(where)} ${rest.at(-1)?.slice(0, 12) ?? ""}`.trim());
}

export const OUTCOMES = [
  ["answered", "Answered"],
  ["not_in_documents", "Not in the documents"],
  ["hidden_by_permissions", "Hidden by permissions"],
  ["waiting_for_approval", "Waiting for approval"],
  ["over_limit", "Over a limit"],
  ["refused", "Refused by the guard"],
  ["stopped", "Stopped by the asker"],
  ["failed", "Failed"],
];
const NAMES = Object.fromEntries(OUTCOMES);
export const outcome = (name) => NAMES[name] ?? name;
