// A turn on the page: what was said, heard and done, and how long it took.

import { answerPieces } from "./conversation.js";
import { approvalCard } from "./approval-card.js";
import { h, icon, ms, pretty } from "./dom.js";
import { fallTable, stack } from "./fall-view.js";
import { totalMs, waterfall } from "./waterfall.js";

const STATUS = {
  no_speech: "no words were heard",
  text_only: "no voice for this language: in text only",
  failed: "something broke",
  cancelled: "cancelled",
  interrupted: "interrupted",
  dismissed: "not meant for the assistant",
  unfinished: "not finished",
  broken: "the connection broke here",
};

/**
 * Shows a turn in `element`. Only what has changed is drawn anew, so that a selection, the focus and what was opened stay
 * as they are while the rest goes on.
 */
export class TurnView {
  /**
   * @param {object} turn as in conversation.js
   * @param {{at?: HTMLElement|null, changed?: () => void}} how at: what stands above it; changed: it was opened or closed
   */
  constructor(turn, { at = null, changed = () => {} } = {}) {
    this.element = h("article", { class: "turn", id: turn.id });
    this._at = at;
    this._changed = changed;
    this._open = false;
    this._parts = new Map();
    this._turn = turn;
  }

  /** @param {number|null} nowMs for how long the answer has been waited for, while it is */
  show(nowMs = null) {
    const turn = this._turn;
    this._nowMs = nowMs;
    this.element.dataset.status = turn.status;
    this.element.setAttribute("aria-label", turn.number ? `Turn ${turn.number}` : turn.typed ? "Typed" : "Outside of any turn");
    const asked = turn.approvals;
    const wanted = [
      ["seam", [turn.seam], () => turn.seam && h("p", { class: "seam" }, h("span", {}, turn.seam))],
      ["at", [], () => this._at],
      ["user", [turn.user, turn.userFinal, turn.typed, turn.status === "hearing"], () => userLine(turn)],
      ...turn.calls.map((call, index) => [`call-${index}`, [call.output, call.doubt, fate(call, asked)], () => callView(call, fate(call, asked))]),
      ...asked.map((one, index) => [`approval-${index}`, [one], () => approvalCard(one, { inline: true })]),
      ["checks", [turn.checks], () => turn.checks.map(checkView)],
      ["fillers", [turn.fillers], () => turn.fillers?.length > 0 && h("p", { class: "note" }, icon("talk"), h("span", {}, "Meanwhile it said: ", h("bdi", {}, turn.fillers.join(" "))))],
      ["answer", [turn.written, turn.spoken, turn.heard, turn.unheard, turn.paused, turn.status, turn.ended], () => answerLine(turn)],
      ["errors", [turn.errors], () => turn.errors.map((text) => h("p", { class: "note bad" }, icon("warn"), h("span", {}, text)))],
      ["warnings", [turn.warnings], () => turn.warnings?.map((text) => h("p", { class: "note warned" }, icon("warn"), h("span", {}, text)))],
      ["foot", [turn.timings, turn.status, turn.ended, turn.heard, turn.speculation, nowMs, this._open], () => this._foot()],
    ];
    for (const [name, news, draw] of wanted) this._part(name, JSON.stringify(news), draw);
  }

  _part(name, news, draw) {
    const known = this._parts.get(name);
    if (known?.news === news) return;
    const drawn = [draw()].flat(9).filter((one) => one !== null && one !== undefined && one !== false);
    const focused = known?.drawn.find((one) => one.contains(document.activeElement)) && document.activeElement.dataset.keep;
    const opened = known?.drawn.map((one, index) => (one.open !== known.asDrawn[index] ? one.open : undefined));
    if (known) for (const one of known.drawn) one.remove();
    else this._parts.set(name, { marker: this.element.appendChild(document.createComment(name)) });
    const part = this._parts.get(name);
    // Parts come in a fixed order but for calls and approvals, which are as many as there are: each before what follows.
    if (!known) this._place(name, part.marker);
    part.marker.after(...drawn);
    const asDrawn = drawn.map((one) => one.open);
    drawn.forEach((one, index) => opened?.[index] !== undefined && (one.open = opened[index]));
    Object.assign(part, { news, drawn, asDrawn });
    if (focused) this.element.querySelector(`[data-keep="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  _place(name, marker) {
    const follows = ORDER.indexOf(name.replace(/-\d+$/, ""));
    const later = [...this._parts].find(([other, { marker: at }]) => at !== marker && ORDER.indexOf(other.replace(/-\d+$/, "")) > follows);
    if (later) later[1].marker.before(marker);
  }

  _foot() {
    const turn = this._turn;
    const steps = waterfall(turn.timings);
    const waiting = this._nowMs;
    const known = turn.heard !== null || (turn.status === "failed" && turn.errors.length > 0); // said above already
    const told = [known ? "" : STATUS[turn.status], turn.speculation?.hit && "begun before you had finished"].filter(Boolean);
    if (!steps.length && !told.length) return null;
    const whole = Math.max(totalMs(steps), waiting ?? 0);
    const table = `${turn.id}-steps`;
    const what = turn.timings.audible_s != null ? "answered after" : turn.ended ? "last step at" : "waiting";
    return h(
      "div",
      { class: "foot" },
      steps.length > 0 &&
        h(
          "button",
          { type: "button", class: "fall", "aria-expanded": String(this._open), "aria-controls": table, data: { keep: turn.id }, "aria-label": `${what} ${ms(whole)}: the steps`, on: { click: () => this._toggle() } },
          stack(steps, waiting),
          h("span", { class: "took" }, h("span", { class: "soft" }, what), ` ${ms(whole)}`),
          icon("down"),
        ),
      told.length > 0 && h("p", { class: "remark" }, told.join(" · ")),
      this._open && steps.length > 0 && h("div", { id: table, class: "steps" }, fallTable(steps, waiting, turn)),
    );
  }

  _toggle() {
    this._open = !this._open;
    this.show(this._nowMs);
    this._changed();
  }
}

const ORDER = ["seam", "at", "user", "call", "approval", "checks", "fillers", "answer", "errors", "warnings", "foot"];

function userLine(turn) {
  if (!turn.user && turn.status !== "hearing") return null;
  return h(
    "div",
    { class: "line you" },
    h("span", { class: "who" }, turn.typed ? "You, typed" : "You"),
    h("p", { class: turn.userFinal ? "said" : "said coming", dir: "auto" }, turn.user || "…", turn.user && !turn.userFinal ? h("span", { class: "caret", "aria-hidden": "true" }) : null),
  );
}

function answerLine(turn) {
  const pieces = answerPieces(turn);
  const cut = turn.heard !== null;
  const waiting = !pieces.length && !cut && turn.status === "thinking";
  if (!pieces.length && !waiting && !cut) return null;
  return h(
    "div",
    { class: `line them${turn.paused ? " paused" : ""}` },
    h("span", { class: "who" }, "Antiphon"),
    h(
      "div",
      {},
      (waiting || pieces.length > 0) && h("p", { class: "said", dir: "auto" }, waiting ? h("span", { class: "dots", role: "img", "aria-label": "thinking" }, h("i"), h("i"), h("i")) : pieces.map(pieceView)),
      cut && h("p", { class: turn.unheard.trim() ? "note cut" : "note" }, icon("cut"), h("span", {}, cutWords(turn))),
      turn.paused && h("p", { class: "note" }, icon("stop"), "Paused: was that for me?"),
    ),
  );
}

function cutWords(turn) {
  if (turn.heard.trim()) return turn.unheard.trim() ? "You cut in here. What is struck out was never heard." : "You cut in here.";
  return turn.unheard.trim() ? "You cut in before anything was heard." : "You went on before there was an answer.";
}

function pieceView({ text, kind }) {
  if (kind === "unheard") return h("s", { class: "unheard" }, h("span", { class: "unseen" }, " (not heard:) "), text);
  return h("span", { class: kind }, text);
}

/** What has become of a call, in a word or two. */
function fate(call, approvals) {
  const asked = approvals.findLast((one) => one.tool === call.name);
  if (call.output === null) return call.doubt ? "was called: in doubt" : asked?.state === "pending" ? "waits for a yes" : "is running";
  if (asked?.state === "refused") return "was not allowed";
  return asked?.state === "cancelled" ? "was given up" : "was called";
}

function callView(call, became) {
  const nothing = h("em", { class: "soft" }, "nothing");
  const given = call.arguments && call.arguments !== "{}" ? pretty(call.arguments) : nothing;
  return h(
    "details",
    { class: "call", open: call.output === null || call.arguments.length + call.output.length < 200 },
    h("summary", { "data-keep": `call-${call.id}` }, icon("tool"), h("span", {}, h("b", {}, call.name), ` ${became}`), h("span", { class: "chevron", "aria-hidden": "true" }, icon("down"))),
    h("dl", { class: "io" }, h("dt", {}, "with"), h("dd", { dir: "auto" }, given), h("dt", {}, "gave"), h("dd", { dir: "auto" }, call.output === null ? h("em", {}, call.doubt ?? "not yet") : call.output ? pretty(call.output) : nothing.cloneNode(true))),
  );
}

function checkView(check) {
  const what = { block: "stopped this", rewrite: "took something out", granted: "was granted", refused: "was refused" }[check.decision] ?? check.decision;
  return h("p", { class: "note" }, icon("shield"), h("span", {}, "The check ", h("b", {}, check.check), ` ${what}`, check.tool && ` (${check.tool})`, check.reason && `: ${check.reason}`));
}
