// The server page: whether it takes conversations, its engines, and what they have to do.

import { request } from "./api.js";
import { blank } from "./approvals.js";
import { count, fill, h, ms, sentence } from "./dom.js";
import { figures, parse } from "./metrics.js";
import { nextLookMs } from "./patience.js";

const STAGES = {
  vad: ["Voice activity", "Is somebody speaking?"],
  turn: ["End of turn", "Have they finished?"],
  stt: ["Speech to text", "What did they say?"],
  llm: ["Language model", "What is the answer?"],
  tts: ["Text to speech", "How does it sound?"],
};
const WORDS = {
  ready: ["good", "Ready", "Conversations are taken."],
  degraded: ["warn", "Degraded", "Conversations are taken, but an engine is out of order: another one stands in for it."],
  full: ["warn", "Full", "No further conversation is taken until one ends."],
  busy: ["warn", "Busy", "The machine carries no more conversations just now."],
  loading: ["warn", "Loading", "The engines are being loaded."],
  draining: ["bad", "Shutting down", "No more conversations are taken."],
  away: ["bad", "Not reached", "The server does not answer."],
  key: ["warn", "Needs a key", "Enter it with the key sign above."],
  limited: ["warn", "Limited", ""],
  audit: ["bad", "No audit log", "The audit log cannot be written, and this server does nothing that is not on record."],
  trouble: ["bad", "Trouble", ""],
  asking: ["", "Asking", ""],
};
const MEASURE_MS = 5000;

export class ServerPage {
  constructor(app) {
    this.title = "Server";
    this._app = app;
    this._figures = null;
    this._measuresAt = 0; // not before that, by `performance.now()`
    this._body = h("div", { class: "server" });
    this.element = h("div", { class: "page" }, h("header", { class: "top" }, h("h1", {}, "Server")), this._body);
    app.state.addEventListener("change", () => !this.element.hidden && this._show());
    setInterval(() => !this.element.hidden && !document.hidden && this._measure(), MEASURE_MS);
  }

  shown() {
    this._show();
    this._measure();
    this._app.state.now();
  }

  async _measure() {
    const { state } = this._app;
    if (!state.value || state.error || !state.may("metrics") || this._without || performance.now() < this._measuresAt) return;
    try {
      this._figures = figures(parse(await (await request("/metrics")).text()));
    } catch (error) {
      this._without = error.status === 404 || error.status === 403; // none are served: do not ask again
      this._measuresAt = performance.now() + nextLookMs(MEASURE_MS, error);
      this._figures = null;
    }
    this._show();
  }

  _show() {
    const { state } = this._app;
    const value = state.value;
    const [kind, word, known] = sign(state.word);
    const text = known || sentence((state.error ?? value?.refused)?.message ?? "");
    const lamp = h("section", { class: `lamp ${kind}` }, h("i", { "aria-hidden": "true" }), h("div", {}, h("h2", {}, word), h("p", {}, text)), value && lines(value));
    if (!value) {
      fill(this._body, lamp, state.word === "away" && blank("warn", "No news", state.error.message));
      return;
    }
    fill(
      this._body,
      lamp,
      h("section", {}, h("h2", {}, "Engines"), h("ol", { class: "engines" }, stages(value.engines).map(stageCard))),
      this._figures?.length > 0 && h("section", {}, h("h2", {}, "Since it was started"), h("dl", { class: "tiles" }, this._figures.map(({ name, value: shown, hint }) => h("div", { title: hint }, h("dt", {}, name), h("dd", {}, shown))))),
      value.workers.length > 0 && h("section", {}, h("h2", {}, "At work"), workers(value.workers)),
      h("section", {}, h("h2", {}, "Settings"), facts(value)),
    );
  }
}

function lines(value) {
  const share = Math.min(1, value.sessions / value.max_sessions);
  return h(
    "div",
    { class: "load" },
    h("p", {}, h("b", {}, String(value.sessions)), ` of ${count(value.max_sessions, "conversation")}`),
    h("span", { class: "meter", role: "meter", "aria-label": "Conversations under way", "aria-valuemin": "0", "aria-valuemax": String(value.max_sessions), "aria-valuenow": String(value.sessions) }, h("span", { class: "fill", style: { transform: `scaleX(${share})` } })),
  );
}

const stages = (engines) => Object.keys(STAGES).map((stage) => [stage, engines.filter((one) => one.stage === stage)]).filter(([, found]) => found.length);

function stageCard([stage, engines]) {
  const [name, question] = STAGES[stage];
  return h(
    "li",
    { class: `engine k-${stage}` },
    h("h3", {}, name),
    h("p", { class: "soft small" }, question),
    engines.map((one) => {
      const [kind, word] = !one.loaded ? ["warn", "loading"] : one.in_order === false ? ["bad", "out of order"] : ["good", one.fallback ? "stands by" : "in order"];
      return h("div", { class: "one" }, h("b", {}, one.model ?? one.engine), h("span", { class: "soft small" }, [one.model && one.engine, one.load_s !== null && one.loaded && `loaded in ${ms(one.load_s * 1000)}`].filter(Boolean).join(" · ")), h("span", { class: `tag ${kind}` }, word));
    }),
  );
}

function workers(all) {
  const head = ["Worker", "waiting", "now", "done", "failed", "given up", "refused", "busy"];
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Workers" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head.map((name, index) => h("th", { scope: "col", class: index ? "num" : "" }, name)))),
      h("tbody", {}, all.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name), [one.queued, one.running ? "at work" : "idle", one.done, one.failed, one.dropped, one.refused, `${one.busy_s.toFixed(1)} s`].map((shown) => h("td", { class: "num" }, String(shown)))))),
    ),
  );
}

function facts(value) {
  const { transcripts } = value;
  const kept = transcripts.kept ? `kept${transcripts.keep ? ` for ${transcripts.keep}` : ""}${transcripts.audio ? `, with ${transcripts.encrypted ? "encrypted " : ""}recordings` : ", without recordings"}` : "not kept";
  const row = (name, text) => [h("dt", {}, name), h("dd", {}, text)];
  return h(
    "dl",
    { class: "rows" },
    row("Workflow", value.workflow),
    row("Conversations", kept),
    row("Network", value.offline ? "engines may not use it" : "engines may use it"),
    row("Your key", value.key_id ? [h("code", {}, value.key_id), ` for ${value.scopes.join(", ")}`] : "none is asked for"),
    row("Version", value.version),
  );
}

export const sign = (word) => WORDS[word] ?? ["warn", word, ""];
