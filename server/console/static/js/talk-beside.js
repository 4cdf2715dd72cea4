// Beside the conversation: the answer under way step by step, its sums, and the pipeline's events.

import { fill, h, icon, ms } from "./dom.js";
import { fallTable } from "./fall-view.js";
import { percentile, waterfall } from "./waterfall.js";

const LOGGED = 200;

export class Beside {
  /** @param {object} app with `call`, `conversation` */
  constructor(app) {
    this._app = app;
    this._log = [];
    this._now = h("section", { class: "panel" });
    this._sums = h("section", { class: "panel" });
    this._events = h("ol", { class: "events", tabindex: "0", "aria-label": "Events, the latest first" });
    this._fold = h("details", { class: "panel fold" }, h("summary", {}, h("h2", {}, "Events"), h("span", { class: "chevron", "aria-hidden": "true" }, icon("down"))), this._events);
    this._fold.addEventListener("toggle", () => this._showLog());
    this.element = h("aside", { class: "beside", "aria-label": "About the conversation" }, this._now, this._sums, this._fold);
  }

  clear() {
    this._log = [];
    this._showLog();
  }

  log(event) {
    this._log = [...this._log, event].slice(-LOGGED);
    this._showLog();
  }

  /** @param {(turn: object) => number|null} waited for how long an answer has been waited for, in ms */
  show(waited) {
    this.showNow(waited);
    this._showSums();
  }

  showNow(waited) {
    const { call, conversation } = this._app;
    this.element.hidden = !conversation.turns.length && !call.live;
    const turn = conversation.turns.findLast((one) => one.timings.speech_end_s != null);
    const steps = turn ? waterfall(turn.timings) : [];
    const title = !steps.length ? "Where the time goes" : turn.ended ? "The last answer" : "The answer under way";
    const news = JSON.stringify([title, turn?.timings, turn?.speculation, turn && waited(turn)]);
    if (news === this._news) return;
    this._news = news;
    fill(this._now, h("h2", {}, title), steps.length ? fallTable(steps, waited(turn), turn) : h("p", { class: "soft" }, "Speak, and this shows where the time to the answer goes, as it goes."));
  }

  _showSums() {
    const { turns, interruptions } = this._app.conversation;
    const answers = this._app.conversation.answers();
    const tokens = turns.flatMap((turn) => turn.usage).filter((one) => one.unit === "output_tokens").reduce((sum, one) => sum + one.amount, 0);
    const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    fill(
      this._sums,
      h("h2", {}, "This conversation"),
      h(
        "dl",
        { class: "facts" },
        fact("turns", String(turns.filter((turn) => turn.ended && turn.user).length)),
        fact("median answer", ms(percentile(answers, 0.5))),
        fact("slowest", ms(answers.length ? Math.max(...answers) : null)),
        fact("interruptions", String(interruptions)),
        fact("tokens written", tokens ? String(Math.round(tokens)) : "–"),
      ),
    );
  }

  _showLog() {
    if (!this._fold.open) return;
    const zero = this._log[0]?.t_s ?? 0;
    fill(this._events, this._log.toReversed().map((event) => h("li", {}, h("span", { class: "num" }, (event.t_s - zero).toFixed(2)), h("b", {}, event.type), h("span", { class: "soft" }, h("bdi", {}, brief(event))))));
  }
}

function brief(event) {
  const { type, t_s, audio_s, session, turn, revision, timings, usage, speculation, ...rest } = event;
  const told = Object.entries(rest).filter(([, value]) => value !== "" && value !== null && value !== false);
  return [turn ? `turn ${turn}` : "", ...told.map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)].filter(Boolean).join(", ").slice(0, 240);
}
