// The page: one conversation, kept across reloads.

import { ApiError, ask, history } from "./api.js";
import { h, icon } from "./dom.js";
import * as panel from "./panel.js";
import * as tools from "./tools.js";
import { Turn } from "./turn.js";

const KEY = "almanac.conversation";
const ASKED = "almanac.asked"; // the question that is being answered, should the page be reloaded meanwhile
const EXAMPLES = [
  "How do I roll back a deployment?",
  "What am I paid for being on call?",
  "What is the acknowledgement time for a SEV1?",
  "How do I rotate a database secret?",
];

const turns = document.getElementById("turns");
const empty = document.getElementById("empty");
const notice = document.getElementById("notice");
const composer = document.getElementById("composer");
const field = document.getElementById("question");
const send = document.getElementById("send");

const hasKeyboard = matchMedia("(pointer: fine)");

let conversation = remembered(); // null until the first question
let running = null; // the AbortController of the question that is being answered
const here = new Set(); // ids of the answers on the page

/** What the browser keeps for us; where it keeps nothing, things last until the page is closed. */
function stored(storage, key, value) {
  try {
    if (value === undefined) return window[storage].getItem(key);
    if (value === null) window[storage].removeItem(key);
    else window[storage].setItem(key, value);
  } catch {
    // storage may be forbidden
  }
  return value ?? null;
}

function remembered() {
  const id = stored("localStorage", KEY);
  return /^[0-9a-f-]{36}$/.test(id ?? "") ? id : null;
}

/** A random UUID; `crypto.randomUUID` is missing on plain http. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function put(question, replaced = null) {
  if (running || !question.trim()) return;
  const turn = add(question, replaced);
  conversation ??= stored("localStorage", KEY, uuid());
  running = new AbortController();
  const { signal } = running;
  busy(true);
  stored("sessionStorage", ASKED, question);
  turn.stage("searching");
  try {
    for await (const [name, data] of ask(question, conversation, signal)) {
      if (name === "progress") turn.stage(data.stage, data.tool);
      else if (name === "delta") turn.append(data.text);
      else if (name === "done") finish(turn, data);
    }
  } catch (error) {
    if (signal.aborted) turn.stopped("Stopped.");
    else turn.broken(error instanceof ApiError ? error.message : "The answer could not be shown.");
    if (!(error instanceof ApiError) && !signal.aborted) console.error(error);
  } finally {
    running = null;
    stored("sessionStorage", ASKED, null);
    busy(false);
  }
}

/** A turn on the page, in the place of another one, or below all but those from `before` on. */
function add(question, replaced = null, before = null) {
  const turn = new Turn(question, { open: panel.open, retry: (old) => again(old) });
  if (replaced) replaced.element.replaceWith(turn.element);
  else turns.insertBefore(turn.element, before);
  empty.hidden = true;
  if (!before) turn.element.scrollIntoView({ block: "start" });
  return turn;
}

function finish(turn, answer, ...more) {
  turn.finish(answer, ...more);
  here.add(answer.answer_id);
}

/** What a tool gave back; it is no part of the stored conversation. */
function called(element) {
  turns.append(element);
  empty.hidden = true;
  element.scrollIntoView({ block: "start" });
}

/** The button goes with the empty page, so the focus moves on; on a phone that would open the keyboard. */
function example(text) {
  if (hasKeyboard.matches) field.focus();
  put(text);
}

function again(turn) {
  if (running) return;
  field.focus();
  put(turn.question, turn);
}

function busy(on) {
  document.documentElement.classList.toggle("busy", on);
  turns.setAttribute("aria-busy", String(on));
  send.setAttribute("aria-label", on ? "Stop" : "Send");
  send.title = on ? "Stop" : "Send";
  if (!on && document.activeElement === send) field.focus(); // it is about to be disabled
  ready();
}

function ready() {
  send.disabled = !running && !field.value.trim();
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, 200)}px`;
}

/** What was said before, above what is asked while it is on its way. */
async function restore() {
  notice.hidden = true;
  const restored = conversation;
  const interrupted = running ? null : stored("sessionStorage", ASKED);
  let earlier = [];
  try {
    if (restored) earlier = await history(restored);
  } catch (error) {
    if (restored === conversation) offerAgain(error);
    return;
  }
  if (restored !== conversation) return; // a new one was begun meanwhile
  const before = turns.firstElementChild;
  const missing = earlier.filter(({ answer }) => !here.has(answer.answer_id));
  for (const { question, answer, vote } of missing) finish(add(question, null, before), answer, vote, { quiet: true });
  if (interrupted && earlier.at(-1)?.question !== interrupted) {
    add(interrupted, null, before).stopped("The page was reloaded before this was answered.");
  }
  if (!running) stored("sessionStorage", ASKED, null);
  empty.hidden = turns.children.length > 0;
}

function offerAgain(error) {
  const retry = h("button", { type: "button", class: "primary", onclick: restore }, "Try again");
  notice.replaceChildren(h("div", { class: "outcome failed" }, icon("warning"), h("div", {}, h("p", {}, error.message), retry)));
  notice.hidden = false;
}

function startOver() {
  running?.abort();
  if (!document.getElementById("panel").hidden) panel.close();
  conversation = stored("localStorage", KEY, null);
  turns.replaceChildren();
  notice.hidden = true;
  empty.hidden = false;
  field.focus();
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return running.abort();
  const question = field.value.trim();
  if (!question) return;
  field.value = "";
  put(question);
});
field.addEventListener("input", ready);
field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) composer.requestSubmit();
});
document.getElementById("new").addEventListener("click", startOver);
document.getElementById("examples").append(
  ...EXAMPLES.map((text) => h("li", {}, h("button", { type: "button", onclick: () => example(text) }, text))),
);

panel.setUp();
tools.setUp({ uuid, put: called });
ready();
restore().then(() => {
  const linked = /^\/passages\/(\d+)$/.exec(location.pathname);
  if (linked) panel.open({ chunk_id: linked[1] });
  else if (hasKeyboard.matches) field.focus({ preventScroll: true });
});
