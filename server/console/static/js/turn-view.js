// A turn on the page: what was said, heard and done, and how long it took.

import { answerPieces } from "./conversation.js";
import { approvalCard } from "./approval-card.js";
import { count, h, icon, ms, pretty } from "./dom.js";
import { totalMs, waterfall } from "./waterfall.js";

const LEAST_SCALE_MS = 1500;
const STATUS = {
  no_speech: "no words were heard",
  text_only: "no voice for this language: in text only",
  failed: "something broke",
  cancelled: "cancelled",
  interrupted: "interrupted",
  dismissed: "not meant for the assistant",
  unfinished: "not finished",
};

/**
 * @param {object} turn as in conversation.js
 * @param {{open: boolean, nowMs?: number|null, toggle: Function, at?: HTMLElement|null}} how
 *   nowMs: for how long the answer has been waited for, while it is
 */
export function turnView(turn, how) {
  const heading = turn.number ? `Turn ${turn.number}` : turn.typed ? "Typed" : "Outside of any turn";
  return h(
    "article",
    { class: `turn is-${turn.status}`, id: turn.id, "aria-label": heading },
    how.at,
    userLine(turn),
    turn.calls.map((call) => callView(call, turn.approvals.some((one) => one.state === "pending"))),
    turn.approvals.map((one) => approvalCard(one, { inline: true })),
    turn.checks.map(checkView),
    turn.fillers?.length > 0 && h("p", { class: "note" }, icon("talk"), h("span", {}, `Meanwhile it said: ${turn.fillers.join(" ")}`)),
    answerLine(turn),
    turn.errors.map((text) => h("p", { class: "note bad" }, icon("warn"), text)),
    foot(turn, how),
  );
}

function userLine(turn) {
  if (!turn.user && turn.status !== "hearing") return null;
  return h(
    "div",
    { class: "line you" },
    h("span", { class: "who" }, turn.typed ? "You, typed" : "You"),
    h("p", { class: turn.userFinal ? "said" : "said coming" }, turn.user || "…", turn.user && !turn.userFinal ? h("span", { class: "caret", "aria-hidden": "true" }) : null),
  );
}

function answerLine(turn) {
  const pieces = answerPieces(turn);
  const waiting = !pieces.length && turn.status === "thinking";
  if (!pieces.length && !waiting) return null;
  const cut = turn.heard !== null;
  return h(
    "div",
    { class: `line them${turn.paused ? " paused" : ""}` },
    h("span", { class: "who" }, "Antiphon"),
    h(
      "div",
      {},
      h("p", { class: "said" }, waiting ? h("span", { class: "dots", role: "img", "aria-label": "thinking" }, h("i"), h("i"), h("i")) : pieces.map(pieceView)),
      cut && h("p", { class: "note cut" }, icon("cut"), turn.heard ? "You cut in here. What is struck out was never heard." : "You cut in before anything was heard."),
      turn.paused && h("p", { class: "note" }, icon("stop"), "Paused: was that for me?"),
    ),
  );
}

function pieceView({ text, kind }) {
  if (kind === "unheard") return h("s", { class: "unheard" }, h("span", { class: "unseen" }, " (not heard:) "), text);
  return h("span", { class: kind }, text);
}

function callView(call, waits) {
  const nothing = h("em", { class: "soft" }, "nothing");
  const given = call.arguments && call.arguments !== "{}" ? pretty(call.arguments) : nothing;
  return h(
    "details",
    { class: "call", open: call.output === null || call.arguments.length + call.output.length < 200 },
    h("summary", {}, icon("tool"), h("span", {}, h("b", {}, call.name), call.output !== null ? " was called" : call.doubt ? " was called: in doubt" : waits ? " waits for a yes" : " is running"), h("span", { class: "chevron", "aria-hidden": "true" }, icon("down"))),
    h("dl", { class: "io" }, h("dt", {}, "with"), h("dd", {}, given), h("dt", {}, "gave"), h("dd", {}, call.output === null ? h("em", {}, call.doubt ?? "not yet") : call.output ? pretty(call.output) : nothing.cloneNode(true))),
  );
}

function checkView(check) {
  const what = { block: "stopped this", rewrite: "took something out", granted: "was granted", refused: "was refused" }[check.decision] ?? check.decision;
  return h("p", { class: "note" }, icon("shield"), h("span", {}, "The check ", h("b", {}, check.check), ` ${what}`, check.tool && ` (${check.tool})`, check.reason && `: ${check.reason}`));
}

// ------------------------------------------------------------------------------------------- waterfall

function foot(turn, how) {
  const steps = waterfall(turn.timings);
  const waiting = how.nowMs ?? null;
  const remark = turn.heard === null ? (STATUS[turn.status] ?? "") : "";
  if (!steps.length && !remark) return null;
  const whole = Math.max(totalMs(steps), waiting ?? 0);
  const table = `${turn.id}-steps`;
  return h(
    "div",
    { class: "foot" },
    steps.length > 0 &&
      h(
        "button",
        {
          type: "button",
          class: "fall",
          "aria-expanded": String(how.open),
          "aria-controls": table,
          data: { keep: turn.id },
          "aria-label": `${turn.timings.audible_s == null ? "Waiting" : "Answered"}: ${ms(whole)}. The steps`,
          on: { click: how.toggle },
        },
        stack(steps, waiting),
        h("span", { class: "took" }, ms(whole)),
        icon("down"),
      ),
    (remark || turn.speculation?.hit) &&
      h("p", { class: "remark" }, [remark, turn.speculation?.hit ? "begun before you had finished" : ""].filter(Boolean).join(" · ")),
    how.open && steps.length > 0 && h("div", { id: table, class: "steps" }, fallTable(steps, waiting, turn)),
  );
}

/** All steps in one bar; how wide a millisecond is, `--scale` says for all bars (see `setScale`). */
function stack(steps, waiting) {
  const covered = totalMs(steps);
  const bar = h("span", { class: "stack", "aria-hidden": "true" });
  for (const step of steps) if (step.partMs > 0) bar.append(segment(step.kind, step.partMs));
  if (waiting !== null && waiting > covered) bar.append(segment(`${nextKind(steps)} growing`, waiting - covered));
  return bar;
}

const segment = (kind, partMs) => h("span", { class: `segment k-${kind}`, style: { "--ms": partMs.toFixed(1) } });

/** One scale for the bars of all turns in an element: the longest fills its line. */
export function setScale(element, turns, waiting = 0) {
  const longest = Math.max(LEAST_SCALE_MS, waiting, ...turns.map((turn) => totalMs(waterfall(turn.timings))));
  element.style.setProperty("--scale", longest.toFixed(0));
}

const nextKind = (steps) => {
  const last = steps.at(-1)?.key;
  return { vad_stop_s: "wait", commit_s: "stt", stt_s: "llm", first_token_s: "tts", first_clause_s: "tts", first_audio_s: "sink" }[last] ?? "wait";
};

/** The steps one below the other, each where it added to the whole. */
export function fallTable(steps, waiting = null, turn = null) {
  const covered = totalMs(steps);
  const whole = Math.max(covered, waiting ?? 0, 1);
  const rows = steps.map((step) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, step.name),
      h("td", { class: "track", "aria-hidden": "true" }, step.partMs > 0 ? placed(step.kind, step.startMs / whole, step.partMs / whole) : dot(step.kind, step.doneMs / whole)),
      h("td", { class: "num" }, step.partMs > 0 ? `+${Math.round(step.partMs)} ms` : h("span", { title: "done while something else was waited for" }, "hidden")),
    ),
  );
  if (waiting !== null && waiting > covered) {
    rows.push(h("tr", {}, h("th", { scope: "row" }, "…"), h("td", { class: "track", "aria-hidden": "true" }, placed(`${nextKind(steps)} growing`, covered / whole, (waiting - covered) / whole)), h("td", { class: "num" }, `+${Math.round(waiting - covered)} ms`)));
  }
  const spent = turn?.speculation && turn.speculation.started > 0 ? `${count(turn.speculation.started, "answer")} begun early, ${turn.speculation.dropped} given up.` : "";
  return h(
    "table",
    { class: "falls" },
    h("caption", { class: "unseen" }, "From the end of what was said to the first sound of the answer"),
    h("colgroup", {}, h("col", { class: "name" }), h("col"), h("col", { class: "value" })),
    h("tbody", {}, rows),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "in all"), h("td", {}), h("td", { class: "num" }, ms(whole))), spent && h("tr", {}, h("td", { class: "soft", colspan: "3" }, spent))),
  );
}

const placed = (kind, left, width) => h("span", { class: `segment k-${kind}`, style: { left: `${left * 100}%`, width: `max(2px, ${width * 100}%)` } });
const dot = (kind, left) => h("span", { class: `early k-${kind}`, style: { left: `${Math.min(1, Math.max(0, left)) * 100}%` } });
