// The talk page: the score, what is said, the turn's waterfall, and the controls.

import { approvalCard } from "./approval-card.js";
import { announce, button, clearToasts, count, fill, h, icon, ms, remember, span, toast } from "./dom.js";
import * as microphone from "./microphone.js";
import { Score } from "./score.js";
import { fallTable, setScale, turnView } from "./turn-view.js";
import { percentile, waterfall } from "./waterfall.js";

const PHASES = {
  listening: ["Listening", "Say something."],
  hearing: ["Hearing you", ""],
  thinking: ["Thinking", ""],
  speaking: ["Speaking", "Talk over it to interrupt."],
  asking: ["Waiting for a yes", "Somebody has to decide."],
};
const LOGGED = 200;

export class TalkPage {
  /** @param {object} app with `call`, `conversation`, `state`, `questions`, `go` */
  constructor(app) {
    this.title = "Talk";
    this._app = app;
    this._views = new Map();
    this._opened = new Set();
    this._log = [];
    this._clockSkew = Infinity; // our clock less the session's
    this._deviceId = remember.get("microphone", "");
    this._devices = [];
    this._follow = true;
    this._build();
    this._wire();
    this._showAll();
  }

  // ------------------------------------------------------------------------------------ the parts

  _build() {
    this._canvas = h("canvas", { class: "score", role: "img", "aria-label": "Both voices over the last seconds: yours above the line, the assistant's below" });
    this.score = new Score(this._canvas);
    this._meters = { you: meter("Your level"), them: meter("The assistant's level") };
    this._strip = h(
      "section",
      { class: "strip", "aria-label": "Levels" },
      h("div", { class: "voice you" }, h("span", {}, "You"), this._meters.you),
      this._canvas,
      h("div", { class: "voice them" }, h("span", {}, "Antiphon"), this._meters.them),
    );
    this._turns = h("div", { class: "turns", role: "region", "aria-label": "The conversation", tabindex: "-1" });
    this._status = h("div", { class: "status" });
    this._waiting = h("div", { class: "waiting" });
    this._controls = h("div", { class: "controls" });
    this._field = h("input", { id: "say", type: "text", autocomplete: "off", enterkeyhint: "send", maxlength: "4000", placeholder: "Type instead of talking" });
    this._form = h("form", { class: "say" }, h("label", { for: "say", class: "unseen" }, "Type instead of talking"), this._field, h("button", { type: "submit", class: "button bare", "aria-label": "Send" }, icon("send")));
    this._dock = h("section", { class: "dock", "aria-label": "Controls" }, this._waiting, this._status, this._controls, this._form);
    this._start = h("section", { class: "start" });
    this._now = h("section", { class: "panel" });
    this._sums = h("section", { class: "panel" });
    this._events = h("ol", { class: "events" });
    this._eventsPanel = h("details", { class: "panel fold" }, h("summary", {}, h("h2", {}, "Events"), h("span", { class: "chevron", "aria-hidden": "true" }, icon("down"))), this._events);
    this._aside = h("aside", { class: "beside", "aria-label": "About the conversation" }, this._now, this._sums, this._eventsPanel);
    this._down = button("To the latest", { icon: "down", class: "plain small latest", press: () => this._toEnd(true), hidden: true });
    this.element = h("div", { class: "talk" }, h("h1", { class: "unseen" }, "Talk"), this._strip, h("div", { class: "middle" }, this._start, this._turns, this._down), this._dock, this._aside);
  }

  _wire() {
    const { call, conversation, state, questions } = this._app;
    call.addEventListener("state", () => this._callChanged());
    call.addEventListener("microphone", () => {
      this._showControls();
      if (call.live && call.problem) toast(call.problem.message, { bad: true });
    });
    call.addEventListener("blocked", () => toast("The browser does not play sound yet: press a key or click once.", { bad: true }));
    call.addEventListener("pipeline", ({ detail }) => this._take(detail));
    call.addEventListener("realtime", ({ detail }) => this._notice(detail));
    state.addEventListener("change", () => !call.active && this._showStart());
    questions.addEventListener("change", () => this._showWaiting());
    microphone.onChange(() => this._listDevices());
    this._form.addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      this._say(this._field.value.trim());
    });
    this._field.addEventListener("focus", () => document.body.classList.add("typing"));
    this._field.addEventListener("blur", () => {
      // Not at once: what the finger is on would move away under it.
      setTimeout(() => document.body.classList.toggle("typing", document.activeElement === this._field), 350);
    });
    this._form.lastChild.addEventListener("pointerdown", (down) => down.preventDefault());
    this._eventsPanel.addEventListener("toggle", () => this._showLog());
    addEventListener("scroll", () => this._scrolled(), { passive: true });
    this._listDevices();
    this._conversation = conversation;
  }

  _showAll() {
    this._callChanged();
    this._showWaiting();
    this._showBeside();
  }

  shown() {
    this.score.draw();
    this._scrolled();
  }

  async _listDevices() {
    this._devices = await microphone.devices();
    this._showStart();
    this._showControls();
  }

  // ------------------------------------------------------------------------------- what one does

  begin({ silent = false } = {}) {
    const { call, conversation } = this._app;
    if (call.active) return;
    clearToasts();
    conversation.clear();
    this._views.clear();
    this._opened.clear();
    this._log = [];
    this._clockSkew = Infinity;
    this._turns.replaceChildren();
    this.score.clear();
    call.start({ deviceId: this._deviceId, silent, pushToTalk: remember.get("mode") === "push" });
  }

  focusText() {
    if (this._app.call.live) this._field.focus();
  }

  _say(text) {
    if (!text || !this._app.call.live) return;
    this._field.value = "";
    this._app.call.say(text);
    this._show(this._conversation.type(text));
    this._showStatus();
    this._toEnd(true);
  }

  _choose(deviceId) {
    this._deviceId = deviceId;
    remember.set("microphone", deviceId);
    if (this._app.call.live) this._app.call.use(deviceId);
  }

  _mode(push) {
    remember.set("mode", push ? "push" : "free");
    if (this._app.call.live) this._app.call.setPushToTalk(push);
    this._showStart();
    this._showControls();
    this._showStatus();
  }

  // --------------------------------------------------------------------------------- what happens

  _take(event) {
    const local = performance.now() / 1000;
    if (event.type !== "audio_started") this._clockSkew = Math.min(this._clockSkew, local - event.t_s); // that one is told ahead
    const cuts = this._conversation.interruptions;
    const turn = this._conversation.apply(event);
    if (event.type === "committed") this.score.mark("over");
    if (event.type === "audio_started") this.score.mark("audible");
    if (this._conversation.interruptions > cuts) this.score.mark("cut");
    this._tell(event);
    this._log = [...this._log, event].slice(-LOGGED);
    this._showLog();
    if (event.type === "warning") toast(event.message);
    if (event.type === "approval") this._app.questions.now();
    if (turn) this._show(turn);
    this._showStatus();
    if (turn) this._showBeside();
  }

  /** For a screen reader: what is settled, once. */
  _tell(event) {
    if (remember.get("captions", "on") !== "on") return;
    if (event.type === "transcript" && event.final && event.text) announce(`${event.role === "user" ? "You" : "Antiphon"}: ${event.text}`);
    else if (event.type === "interrupted" && !event.acknowledged) announce(`Interrupted. Heard: ${event.heard || "nothing"}`);
    else if (event.type === "tool_call") announce(`Calls ${event.name}`);
    else if (event.type === "approval" && event.state === "pending") announce(`Waiting for a yes: ${event.question}`, { now: true });
    else if (event.type === "error") announce(`Something failed: ${event.message}`);
  }

  _notice(event) {
    if (event.type !== "error") return;
    const code = event.error?.code ?? "";
    if (code.includes("cancel") || code.includes("buffer_commit_empty")) return; // nothing was going on, nothing was said
    toast(event.error?.message ?? "The server refused that.", { bad: true });
  }

  _callChanged() {
    const { call } = this._app;
    this._form.hidden = !call.live;
    this.element.dataset.call = call.state;
    const busy = call.active;
    this._strip.hidden = !busy && !this._conversation?.turns.length;
    if (call.live) {
      this.score.start(() => this._levels());
      this._ticking ??= setInterval(() => this._tick(), 100);
      announce(call.hasMicrophone ? "Connected. Speak whenever you like." : "Connected. Type what you want to say.");
      this._listDevices();
    } else {
      this.score.stop();
      clearInterval(this._ticking);
      this._ticking = null;
      this._setMeters(0, 0);
    }
    if (call.state === "lost") announce("The connection broke.", { now: true });
    if (call.state === "failed") announce(call.error.message, { now: true });
    if (call.problem && call.state === "idle") announce(call.problem.message, { now: true });
    if (call.state === "ended") announce("The conversation is over.");
    this._showStart();
    this._showControls();
    this._showStatus();
    this._showBeside();
  }

  _levels() {
    const { call } = this._app;
    const heard = !call.muted && (!call.pushToTalk || call.pressed);
    const levels = [heard ? (call.mine?.level() ?? 0) : 0, call.theirs?.level() ?? 0];
    this._setMeters(...levels);
    return levels;
  }

  _setMeters(you, them) {
    for (const [one, level] of [[this._meters.you, you], [this._meters.them, them]]) {
      one.firstChild.style.transform = `scaleX(${level.toFixed(3)})`;
      const now = String(Math.round(level * 100));
      if (Math.abs(now - one.getAttribute("aria-valuenow")) >= 5) one.setAttribute("aria-valuenow", now);
    }
  }

  _tick() {
    const waiting = this._conversation.turns.at(-1);
    if (waiting && waitedMs(waiting, this._clockSkew) !== null) {
      this._show(waiting);
      this._showNow();
    }
    if (this._time) this._time.textContent = span((performance.now() - this._app.call.startedAt) / 1000);
  }

  // ---------------------------------------------------------------------------------- what is shown

  _show(turn) {
    const known = this._views.get(turn.id);
    const nowMs = waitedMs(turn, this._clockSkew);
    setScale(this._turns, this._conversation.turns, nowMs ?? 0);
    const view = turnView(turn, {
      open: this._opened.has(turn.id),
      nowMs,
      toggle: () => {
        if (!this._opened.delete(turn.id)) this._opened.add(turn.id);
        this._show(turn);
      },
    });
    const focused = known?.contains(document.activeElement) ? document.activeElement.dataset.keep : null;
    if (known) known.replaceWith(view);
    else {
      this._turns.append(view);
      view.classList.add("fresh");
    }
    this._views.set(turn.id, view);
    if (focused) view.querySelector(`[data-keep="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    this._toEnd();
  }

  _toEnd(ask = false) {
    if (ask) this._follow = true;
    if (this._follow && !this.element.hidden) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      scrollTo({ top: document.documentElement.scrollHeight, behavior: ask && !calm ? "smooth" : "instant" });
    }
  }

  _scrolled() {
    if (this.element.hidden) return;
    const { scrollHeight, clientHeight, scrollTop } = document.documentElement;
    this._follow = scrollHeight - clientHeight - scrollTop < 90;
    this._down.hidden = this._follow || !this._conversation.turns.length;
  }

  _showStart() {
    const { call, state } = this._app;
    this._start.hidden = call.live;
    this._turns.hidden = !this._conversation?.turns.length && !call.live;
    if (call.live) {
      this._turns.dataset.empty = this._app.call.hasMicrophone ? "Say something: it is listening." : "Type below what you want to say.";
      return;
    }
    // Only what has changed is drawn anew: the server is asked every few seconds.
    const news = JSON.stringify([call.state, call.error?.message, call.problem?.message, state.word, state.value?.sessions, state.value?.engines.map((one) => one.model ?? one.engine), this._devices, this._deviceId, remember.get("mode")]);
    if (news === this._told) return;
    this._told = news;
    fill(this._start, call.active ? connecting(call) : this._invitation(call, state));
  }

  _invitation(call, state) {
    const [title, text, bad] = words(call, state);
    const blocked = ["loading", "draining", "key"].includes(state.word);
    const again = call.state === "ended" || call.state === "lost" || call.state === "failed";
    return [
      !bad && !again && motif(),
      h("h2", { class: bad ? "bad" : "" }, bad && icon("warn"), title),
      h("p", {}, text),
      state.needsKey
        ? h("div", { class: "buttons" }, button("Enter the key", { icon: "key", class: "main", press: () => this._app.askKey(), "data-keep": "key" }))
        : h(
            "div",
            { class: "buttons" },
            button(again ? (call.state === "ended" ? "Talk again" : "Try again") : "Talk", { icon: again && bad ? "again" : "mic", class: "main big", press: () => this.begin(), disabled: blocked, "data-keep": "talk" }),
            button("Type instead", { icon: "keyboard", class: "plain big", press: () => this.begin({ silent: true }), disabled: blocked, "data-keep": "type" }),
          ),
      !blocked && this._choices(),
      !again && state.value && h("p", { class: "chain" }, chain(state.value.engines)),
    ];
  }

  _choices() {
    const push = remember.get("mode") === "push";
    const mode = (value, label, hint) => {
      const input = h("input", { type: "radio", name: "mode", value, on: { change: () => this._mode(value === "push") }, "data-keep": `mode-${value}` });
      input.checked = (value === "push") === push;
      return h("label", { title: hint }, input, h("span", {}, label));
    };
    return h(
      "div",
      { class: "choices" },
      h("fieldset", { class: "switch" }, h("legend", { class: "unseen" }, "How to talk"), mode("free", "Hands-free", "The server hears when you have finished"), mode("push", "Push to talk", "Hold the space bar, or the button, while you speak")),
      this._devices.length > 0 && this._deviceChoice("start"),
    );
  }

  _deviceChoice(where) {
    const select = h("select", { id: `microphone-${where}`, "data-keep": `microphone-${where}`, on: { change: () => this._choose(select.value) } }, this._devices.map(({ id, name }) => h("option", { value: id }, name)));
    select.value = this._devices.some(({ id }) => id === this._deviceId) ? this._deviceId : this._devices[0].id;
    return h("div", { class: "pick" }, h("label", { for: select.id, class: "unseen" }, "Microphone"), icon("mic"), select);
  }

  _showStatus() {
    const { call } = this._app;
    this._status.hidden = !call.live;
    if (!call.live) return;
    const phase = call.hasMicrophone || this._conversation.phase !== "listening" ? this._conversation.phase : "typing";
    const [word, hint] = phase === "typing" ? ["Ready", "Type below."] : PHASES[phase];
    const held = call.muted ? "Muted: you are not heard." : call.pushToTalk && !call.pressed && phase === "listening" ? "Hold the space bar or the button while you speak." : hint;
    this._time ??= h("span", { class: "time", title: "since the beginning" }, "0:00");
    fill(this._status, h("span", { class: `phase is-${phase}` }, h("i", { "aria-hidden": "true" }), word), h("span", { class: "hint" }, held), this._time);
    if (this._stop) this._stop.disabled = phase !== "speaking" && phase !== "thinking";
  }

  _showControls() {
    const { call } = this._app;
    this._controls.hidden = !call.active;
    if (!call.active) return;
    const end = button("End", { icon: "hangup", class: "bad", hint: "End the conversation", press: () => call.end(), "data-keep": "end" });
    if (!call.live) {
      fill(this._controls, end);
      return;
    }
    this._stop = button("Stop the reply", { icon: "stop", class: "plain shrink", hint: "Stop the reply (Esc)", press: () => call.interrupt(), "data-keep": "stop" });
    const mute = h("button", { type: "button", class: `button plain shrink${call.muted ? " on" : ""}`, "aria-pressed": String(call.muted), title: "Mute (M)", "data-keep": "mute", on: { click: () => call.setMuted(!call.muted) } }, icon(call.muted ? "mic-off" : "mic"), h("span", {}, call.muted ? "Muted" : "Mute"));
    const mode = h("button", { type: "button", class: "button plain shrink", "aria-pressed": String(call.pushToTalk), title: "Push to talk", "data-keep": "mode", on: { click: () => this._mode(!call.pushToTalk) } }, icon("talk"), h("span", {}, call.pushToTalk ? "Push to talk" : "Hands-free"));
    fill(
      this._controls,
      call.hasMicrophone ? [call.pushToTalk ? this._key() : mute, mode] : button("Use a microphone", { icon: "mic", class: "plain", press: () => call.use(this._deviceId), "data-keep": "use" }),
      this._stop,
      call.hasMicrophone && this._devices.length > 1 && this._deviceChoice("call"),
      end,
    );
    this._showStatus();
  }

  /** The key of push to talk: held by finger, mouse, or the keyboard. */
  _key() {
    const { call } = this._app;
    if (this._pushKey?.isConnected) {
      this._pushKey.classList.toggle("on", call.pressed);
      this._pushKey.setAttribute("aria-pressed", String(call.pressed));
      return this._pushKey;
    }
    const press = (event) => {
      if (event.button) return;
      event.preventDefault();
      this._pushKey.setPointerCapture?.(event.pointerId);
      call.press();
    };
    const byKey = (down) => (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      event.stopPropagation();
      if (down && !event.repeat) call.press();
      if (!down) call.release();
    };
    this._pushKey = h(
      "button",
      { type: "button", class: "button hold", "data-keep": "hold", on: { pointerdown: press, pointerup: () => call.release(), pointercancel: () => call.release(), blur: () => call.release(), keydown: byKey(true), keyup: byKey(false), contextmenu: (event) => event.preventDefault() } },
      icon("mic"),
      h("span", {}, "Hold to talk"),
    );
    return this._pushKey;
  }

  _showWaiting() {
    const { questions, state } = this._app;
    const mine = (questions.value ?? []).filter((one) => this._app.call.live && one.session === this._conversation.session);
    this._waiting.hidden = !mine.length;
    fill(this._waiting, mine.map((one) => approvalCard({ ...one, leftS: questions.leftS(one) }, { decide: state.may("approvals") ? this._app.decide : undefined })));
  }

  // ----------------------------------------------------------------------------------- beside it

  _showBeside() {
    this._showNow();
    this._showSums();
  }

  _showNow() {
    const turn = this._conversation.turns.findLast((one) => one.timings.speech_end_s != null);
    const steps = turn ? waterfall(turn.timings) : [];
    const waited = turn ? waitedMs(turn, this._clockSkew) : null;
    this._aside.hidden = !this._conversation.turns.length && !this._app.call.live;
    fill(
      this._now,
      h("h2", {}, turn?.ended ? "The last answer" : "The answer under way"),
      steps.length ? fallTable(steps, waited, turn) : h("p", { class: "soft" }, "Speak, and this shows where the time to the answer goes, as it goes."),
    );
  }

  _showSums() {
    const { turns, interruptions } = this._conversation;
    const answers = this._conversation.answers();
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
    if (!this._eventsPanel.open) return;
    const zero = this._log[0]?.t_s ?? 0;
    fill(this._events, this._log.toReversed().map((event) => h("li", {}, h("span", { class: "num" }, (event.t_s - zero).toFixed(2)), h("b", {}, event.type), h("span", { class: "soft" }, brief(event)))));
  }
}

// ------------------------------------------------------------------------------------------------ pieces

function meter(name) {
  return h("span", { class: "meter", role: "meter", "aria-label": name, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" }, h("span", { class: "fill" }));
}

/** A question above the line, its answer below. */
function motif() {
  const bars = (who, heights) => h("span", { class: `bars ${who}` }, heights.map((height) => h("i", { style: { height: `${height}%` } })));
  return h("div", { class: "motif", "aria-hidden": "true" }, bars("you", [26, 58, 40, 92, 66, 34, 78, 52, 88, 44, 18]), bars("them", [22, 70, 48, 96, 62, 82, 36, 74, 54, 90, 60, 40, 68, 28]));
}

/** For how long an answer has been waited for, in ms; null while nobody waits for one. */
function waitedMs(turn, skew) {
  const zero = turn.timings.speech_end_s;
  if (zero == null || turn.ended || turn.timings.audible_s != null || !["thinking", "hearing"].includes(turn.status) || !Number.isFinite(skew)) return null;
  return Math.max(0, performance.now() / 1000 - skew - zero) * 1000;
}

function connecting(call) {
  const asking = call.state === "asking";
  return [
    h("h2", {}, h("span", { class: "spinner", "aria-hidden": "true" }), asking ? "Asking for the microphone" : "Connecting"),
    h("p", {}, asking ? "Your browser may ask you first." : "Finding a way to the server for the sound."),
  ];
}

/** Title, text, and whether it is bad news: what the page says while nobody talks. */
function words(call, state) {
  const value = state.value;
  if (state.word === "key") return ["This server asks for a key", "Ask whoever runs it for one. It is kept in this tab alone, until you close it."];
  if (state.word === "away") return ["The server cannot be reached", "It may be starting, or gone. This page looks again every few seconds.", true];
  if (state.word === "loading") return ["The engines are being loaded", "This takes a few seconds, on the first start a little longer."];
  if (state.word === "draining") return ["The server is shutting down", "It takes no more conversations.", true];
  if (call.problem) return ["No microphone", call.problem.message, true];
  if (call.state === "lost") return ["The connection broke", "What was said so far is kept below. Begin again, and a new conversation starts.", true];
  if (call.state === "failed") return failure(call.error);
  if (state.word === "full") return ["All lines are taken", `${count(value.sessions, "conversation")} under way, and no more than ${value.max_sessions} are allowed. Try again in a moment.`, true];
  if (state.word === "busy") return ["All lines are taken", "The machine carries no more conversations just now. Try again in a moment.", true];
  if (call.state === "ended") return ["The conversation is over", "It stays below until you begin another one."];
  return ["Talk to it", "Speak as you would to a person: it hears when you have finished, and you may talk over it."];
}

function failure(error) {
  const wait = error.retryAfterS ? ` Try again in ${count(Math.ceil(error.retryAfterS), "second")}.` : "";
  if (error.status === 503) return [["full", "busy"].includes(error.code) ? "All lines are taken" : "Not now", `${sentence(error.message)}${wait}`, true];
  if (error.status === 401 || error.status === 403) return ["The key is not for this", sentence(error.message), true];
  if (error.status === 404 || error.status === 501) return ["No calls over WebRTC here", sentence(error.message), true];
  return ["That did not work", `${sentence(error.message)}${wait}`, true];
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

function chain(engines) {
  const first = engines.filter((one) => one.fallback === 0 && one.stage !== "turn" && one.stage !== "vad");
  return first.flatMap((one, index) => [index ? h("span", { "aria-hidden": "true" }, "→") : null, h("span", { class: `link k-${one.stage}` }, one.model ?? one.engine)]);
}

function brief(event) {
  const { type, t_s, audio_s, session, turn, revision, timings, usage, speculation, ...rest } = event;
  const told = Object.entries(rest).filter(([, value]) => value !== "" && value !== null && value !== false);
  return [turn ? `turn ${turn}` : "", ...told.map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)].filter(Boolean).join(", ").slice(0, 240);
}
