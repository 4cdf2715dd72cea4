// The page's frame: pages, key, theme, shortcuts.

import { key } from "./api.js";
import { ApprovalsPage } from "./approvals.js";
import { Call } from "./call.js";
import { Conversation } from "./conversation.js";
import { ConversationsPage } from "./conversations.js";
import { announce, button, fill, h, icon, remember, sentence, toast } from "./dom.js";
import { OpenQuestions, ServerState } from "./pollers.js";
import { ServerPage, sign } from "./server-page.js";
import { keyDialog, shortcutsDialog } from "./dialogs.js";
import { TalkPage } from "./talk.js";

const THEMES = { auto: ["auto", "as the system has it"], light: ["sun", "light"], dark: ["moon", "dark"] };

const state = new ServerState();
const questions = new OpenQuestions(state);
const app = {
  call: new Call(),
  conversation: new Conversation(),
  state,
  questions,
  askKey: () => keyDialog(key, () => reload()),
  async decide(id, granted) {
    try {
      const decided = await questions.decide(id, granted);
      toast(`${decided.state === "granted" ? "Granted" : "Refused"}: ${decided.question}`);
    } catch (error) {
      toast(error.message, { bad: true });
    }
  },
};

const PAGES = [
  ["talk", "Talk", "talk", new TalkPage(app)],
  ["conversations", "Conversations", "past", new ConversationsPage(app)],
  ["approvals", "Approvals", "shield", new ApprovalsPage(app)],
  ["server", "Server", "pulse", new ServerPage(app)],
];
const main = document.getElementById("main");
let shown = null;

// ------------------------------------------------------------------------------------------------ pages

function route() {
  const [, name = "", rest = ""] = location.hash.split("/");
  return [PAGES.find(([page]) => page === name) ?? PAGES[0], decodeURIComponent(rest)];
}

function show({ focus = true } = {}) {
  const [[name, , , page], rest] = route();
  const changed = shown !== page;
  if (changed) shown?.hidden?.();
  shown = page;
  for (const [, , , one] of PAGES) one.element.hidden = one !== page;
  document.title = `${page.title} · Antiphon`;
  tabs();
  if (changed) scrollTo({ top: 0, behavior: "instant" });
  page.shown?.(rest);
  if (changed && focus) main.focus({ preventScroll: true });
  document.body.dataset.page = name;
}

function tabs() {
  const waiting = questions.value?.length ?? 0;
  const [[current]] = route();
  fill(
    document.getElementById("tabs"),
    PAGES.map(([name, label, sign]) =>
      h("li", {}, h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : undefined, "data-keep": name }, icon(sign), h("span", {}, label), name === "approvals" && waiting > 0 && h("span", { class: "badge" }, String(waiting), h("span", { class: "unseen" }, " waiting")))),
    ),
  );
}

function tools() {
  const [kind, word] = sign(state.word);
  const theme = remember.get("theme", "auto");
  fill(
    document.getElementById("tools"),
    h("a", { class: `pill ${kind}`, href: "#/server", "data-keep": "pill" }, h("i", { "aria-hidden": "true" }), h("span", {}, word)),
    (state.needsKey || key.get() || state.value?.key_id) && button("The key", { icon: "key", class: "bare", press: app.askKey, "data-keep": "key" }),
    button(`Colours: ${THEMES[theme][1]}`, { icon: THEMES[theme][0], class: "bare", press: nextTheme, "data-keep": "theme" }),
    button("Signs, keys and captions", { icon: "keyboard", class: "bare", press: () => shortcutsDialog(), "data-keep": "shortcuts" }),
  );
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(remember.get("theme", "auto")) + 1) % names.length];
  remember.set("theme", next);
  dispatchEvent(new Event("antiphon:theme-chosen"));
  announce(`Colours: ${THEMES[next][1]}`);
  tools();
}

function banner() {
  const box = document.getElementById("banner");
  const away = state.word === "away";
  const refused = !away && state.error && !state.needsKey;
  const renewed = !away && !refused && state.renewed;
  box.hidden = !away && !refused && !renewed;
  box.className = away || refused ? "banner bad" : "banner";
  if (away) fill(box, icon("warn"), h("span", {}, "The server cannot be reached. This page looks again every few seconds."), button("Look now", { icon: "again", class: "plain small", press: () => state.now(), "data-keep": "look" }));
  else if (refused) fill(box, icon("warn"), h("span", {}, sentence(state.error.message)));
  else if (renewed) fill(box, icon("again"), h("span", {}, "The server has a newer edition of this page. What was said stays."), button("Load it", { class: "plain small", press: () => location.reload(), "data-keep": "load" }));
}

async function reload() {
  await state.now();
  await questions.now();
  show({ focus: false });
}

// -------------------------------------------------------------------------------------------- shortcuts

const typing = (target) => target.closest?.("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]");

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const { call } = app;
  if (event.key === "Escape") {
    if (typing(event.target)) event.target.blur();
    else if (call.live) call.interrupt();
    return;
  }
  if (typing(event.target)) return;
  const onControl = event.target.closest?.("button, a, summary, input, audio");
  if (event.key === " " && call.live && call.pushToTalk && !onControl) {
    event.preventDefault();
    if (!event.repeat) call.press();
    return;
  }
  if (remember.get("keys", "on") !== "on" || event.repeat) return;
  const page = PAGES[Number(event.key) - 1];
  const deeds = {
    c: () => (call.active ? call.end() : shown === PAGES[0][3] && ["ready", "degraded"].includes(state.word) && shown.begin()),
    m: () => call.live && call.hasMicrophone && call.setMuted(!call.muted),
    t: () => shown === PAGES[0][3] && shown.focusText(),
    "/": () => shown === PAGES[1][3] && shown.focusSearch(),
    "?": () => shortcutsDialog(),
  };
  const deed = page ? () => (location.hash = `#/${page[0]}`) : deeds[event.key.toLowerCase()];
  if (!deed) return;
  event.preventDefault();
  deed();
}

// ------------------------------------------------------------------------------------------------ begin

main.replaceChildren(...PAGES.map(([, , , page]) => page.element));
addEventListener("hashchange", () => show());
addEventListener("keydown", pressed);
addEventListener("keyup", (event) => event.key === " " && app.call.pressed && app.call.release());
addEventListener("antiphon:theme", () => shown?.score?.draw());
addEventListener("beforeunload", (event) => app.call.live && event.preventDefault());
state.addEventListener("change", () => {
  tools();
  banner();
});
questions.addEventListener("change", tabs);
questions.addEventListener("asked", ({ detail }) => announce(`Waiting for a yes: ${detail.question}`, { now: true }));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
tools();
show({ focus: false });
state.now().then(() => questions.now());
