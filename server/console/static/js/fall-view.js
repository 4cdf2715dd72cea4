// The waterfall drawn: where the time to an answer went, in one bar, and step by step.

import { count, h } from "./dom.js";
import { totalMs, waterfall } from "./waterfall.js";

const LEAST_SCALE_MS = 1500;
/** After each step, the one that is waited for: its kind, and its name. */
const NEXT = {
  vad_stop_s: ["wait", "turn over"],
  commit_s: ["stt", "transcript"],
  stt_s: ["llm", "first word"],
  first_token_s: ["clause", "first clause"],
  first_clause_s: ["tts", "first audio"],
  first_audio_s: ["sink", "audible"],
};
/** What each step waits for, in words. */
const MEANING = {
  "silence heard": "until it was sure that you had paused",
  "turn over": "until it was decided that you had finished",
  transcript: "until your words were written down",
  "first word": "until the language model had its first word",
  "first clause": "until there was enough of it to be spoken",
  "first audio": "until the voice had its first sound",
  audible: "until that sound went out to you",
};

const next = (steps) => NEXT[steps.at(-1)?.key] ?? ["wait", "the end"];

/** All steps in one bar; how wide a millisecond is, `--scale` says for all bars (see `setScale`). */
export function stack(steps, waiting) {
  const covered = totalMs(steps);
  const bar = h("span", { class: "stack", "aria-hidden": "true" });
  for (const step of steps) if (step.partMs > 0) bar.append(segment(step.kind, step.partMs, `${step.name}: ${Math.round(step.partMs)} ms`));
  if (waiting !== null && waiting > covered) bar.append(segment(`${next(steps)[0]} growing`, waiting - covered));
  return bar;
}

const segment = (kind, partMs, title) => h("span", { class: `segment k-${kind}`, title, style: { "--ms": partMs.toFixed(1) } });

/** One scale for the bars of all turns in an element: the longest fills its line. */
export function setScale(element, turns, waiting = 0) {
  const longest = Math.max(LEAST_SCALE_MS, waiting, ...turns.map((turn) => totalMs(waterfall(turn.timings))));
  element.style.setProperty("--scale", longest.toFixed(0));
}

/** The steps one below the other, each where it added to the whole: the table is the legend of the bars, too. */
export function fallTable(steps, waiting = null, turn = null) {
  const covered = totalMs(steps);
  const whole = Math.max(covered, waiting ?? 0, 1);
  const answered = turn?.timings.audible_s != null;
  const rows = steps.map((step) => row(step.kind, step.name, step.partMs > 0 ? placed(step.kind, step.startMs / whole, step.partMs / whole) : dot(step.kind, step.doneMs / whole), step.partMs > 0 ? `+${Math.round(step.partMs)} ms` : "meanwhile"));
  if (waiting !== null && waiting > covered) {
    const [kind, name] = next(steps);
    rows.push(row(kind, `${name} …`, placed(`${kind} growing`, covered / whole, (waiting - covered) / whole), `+${Math.round(waiting - covered)} ms`));
  }
  return h(
    "table",
    { class: "falls" },
    h("caption", { class: "unseen" }, "From the end of what was said to the first sound of the answer"),
    h("colgroup", {}, h("col", { class: "name" }), h("col"), h("col", { class: "value" })),
    h("tbody", {}, rows),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row", colspan: "2" }, answered ? "last word to first sound" : waiting === null ? "no sound came of it" : "so far"), h("td", { class: "num" }, exact(whole))), remarks(steps, turn).map((text) => h("tr", {}, h("td", { class: "soft", colspan: "3" }, text)))),
  );
}

function remarks(steps, turn) {
  const { started = 0, dropped = 0 } = turn?.speculation ?? {};
  return [
    steps.some((step) => step.partMs <= 0) && "Meanwhile: done while something else was waited for.",
    started > 0 && `${count(started, "answer")} begun before you had finished, ${dropped} given up.`,
  ].filter(Boolean);
}

const row = (kind, name, mark, value) =>
  h("tr", {}, h("th", { scope: "row", class: `k-${kind}`, title: MEANING[name] }, h("i", { class: "key", "aria-hidden": "true" }), name), h("td", { class: "track", "aria-hidden": "true" }, mark), h("td", { class: "num" }, value));

const exact = (value) => `${Math.round(value)} ms`;
const placed = (kind, left, width) => h("span", { class: `segment k-${kind}`, style: { left: `${left * 100}%`, width: `max(2px, ${width * 100}%)` } });
const dot = (kind, left) => h("span", { class: `early k-${kind}`, style: { left: `${Math.min(1, Math.max(0, left)) * 100}%` } });

