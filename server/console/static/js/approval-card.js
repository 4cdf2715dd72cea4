// A question that waits for a yes, or what became of it.

import { button, h, icon, pretty, span } from "./dom.js";

/** What is decided by nobody, because nobody did in time. */
const RAN_OUT = { granted: ["check", "Granted: nobody said no in time"], refused: ["cross", "Refused: nobody said yes in time"] };
const STATES = {
  granted: ["check", "Granted"],
  refused: ["cross", "Refused"],
  cancelled: ["cross", "Withdrawn"],
};

/**
 * @param {object} approval `id`, `state`, `question`, `tool`, `arguments`; also `decides`, `by`, `leftS`
 * @param {{decide?: (id: string, granted: boolean) => void, busy?: boolean, about?: HTMLElement|null, inline?: boolean}} how
 *   without `decide` it is shown alone; inline: one line of a turn
 */
export function approvalCard(approval, { decide, busy = false, about = null, inline = false } = {}) {
  const open = approval.state === "pending";
  const ranOut = approval.by === "timeout" ? RAN_OUT[approval.state] : undefined;
  const [sign, word] = ranOut ?? STATES[approval.state] ?? ["shield", "Waiting for a yes"];
  const by = approval.by && !open && !ranOut ? ` by ${approval.by}` : "";
  const byVoice = approval.decides === "voice";
  if (inline) {
    return h("p", { class: `approval brief is-${approval.state}` }, icon(sign), h("span", {}, h("b", {}, word, by), h("span", { class: "question", dir: "auto" }, approval.question)));
  }
  return h(
    "article",
    { class: `approval is-${approval.state}`, "aria-label": `${word}: ${approval.question}` },
    h("p", { class: "state" }, icon(sign), h("span", {}, word, by), open && approval.leftS !== undefined && h("span", { class: "left", title: "until it is decided by itself" }, span(approval.leftS))),
    h("p", { class: "question", dir: "auto" }, approval.question),
    approval.tool && h("div", { class: "what" }, h("code", {}, approval.tool), approval.arguments && approval.arguments !== "{}" && pretty(approval.arguments)),
    about,
    open && byVoice && h("p", { class: "note" }, icon("mic"), "Only the caller can answer this, by voice."),
    open &&
      decide &&
      !byVoice &&
      h(
        "div",
        { class: "buttons" },
        button("Grant", { icon: "check", class: "good", press: () => decide(approval.id, true), disabled: busy, data: undefined, "data-keep": `grant-${approval.id}` }),
        button("Refuse", { icon: "cross", class: "plain", press: () => decide(approval.id, false), disabled: busy, "data-keep": `refuse-${approval.id}` }),
      ),
  );
}
