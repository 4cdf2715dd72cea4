// The talk page: the score, what is said, and the controls; what happens, and who has to know of it.

import { announce, clearToasts, h, icon, remember, span, toast } from "./dom.js";
import { keep, kept } from "./kept.js";
import * as microphone from "./microphone.js";
import { Score } from "./score.js";
import { Beside } from "./talk-beside.js";
import { Dock } from "./talk-dock.js";
import { Start } from "./talk-start.js";
import { TurnList } from "./turn-list.js";

const TICK_MS = 100;
const AWAY_LEAST_S = 1;

export class TalkPage {
  /** @param {object} app with `call`, `conversation`, `state`, `questions`, `askKey`, `decide` */
  constructor(app) {
    this.title = "Talk";
    this._app = app;
    this._clockSkew = Infinity; // our clock less the session's
    this._deviceId = remember.get("microphone", "");
    this._devices = [];
    this._build();
    this._wire();
    app.conversation.restore(kept());
    app.conversation.goOn("");
    for (const turn of app.conversation.turns) this._turns.show(turn, app.conversation.turns);
    this._callChanged();
    this._listDevices();
  }

  _build() {
    this._canvas = h("canvas", { class: "score", role: "img", "aria-label": "Both voices over the last seconds: yours above the line, the assistant's below", title: "Blue pin: your turn was over. Orange pin: the answer began. Red line: you cut in." });
    this.score = new Score(this._canvas);
    this._meters = { you: meter("Your level"), them: meter("The assistant's level") };
    const voice = (who, name, level) => h("div", { class: `voice ${who}` }, h("span", {}, name), level);
    this._strip = h("section", { class: "strip", "aria-label": "Levels" }, voice("you", "You", this._meters.you), this._canvas, voice("them", "Antiphon", this._meters.them));
    const shared = { mode: (push) => this._mode(push) };
    this._turns = new TurnList();
    this._start = new Start(this._app, { ...shared, begin: (how) => this.begin(how), microphones: () => this._microphones("start", 1) });
    this._dock = new Dock(this._app, { ...shared, say: (text) => this._say(text), use: () => this._app.call.use(this._deviceId), microphones: () => this._microphones("call", 2) });
    this._beside = new Beside(this._app);
    this.element = h("div", { class: "talk" }, h("h1", { class: "unseen" }, "Talk"), this._strip, h("div", { class: "middle" }, this._turns.element, this._turns.latest, this._start.element), this._dock.element, this._beside.element);
  }

  _wire() {
    const { call, state, questions } = this._app;
    call.addEventListener("state", () => this._callChanged());
    call.addEventListener("resumed", () => this._resumed());
    call.addEventListener("microphone", () => {
      this._dock.show();
      if (call.live && call.problem) toast(call.problem.message, { bad: true });
    });
    call.addEventListener("blocked", () => toast("The browser does not play sound yet: press a key or click once.", { bad: true }));
    call.addEventListener("pipeline", ({ detail }) => this._take(detail));
    call.addEventListener("realtime", ({ detail }) => notice(detail));
    state.addEventListener("change", () => !call.active && this._showStart());
    questions.addEventListener("change", () => {
      this._dock.showWaiting();
      if (call.live) this._turns.toEnd();
    });
    microphone.onChange(() => this._listDevices());
    addEventListener("pagehide", () => {
      keep(this._app.conversation.turns);
      call.leave();
    });
    const hear = () => call.player.paused && call.player.srcObject && call.player.play().catch(() => {}); // where it was blocked
    addEventListener("pointerdown", hear);
    addEventListener("keydown", hear);
  }

  shown() {
    this._turns.shown = true;
    this.score.draw();
    this._turns.scrolled();
  }

  hidden() {
    this._turns.shown = false;
  }

  // ------------------------------------------------------------------------------- what one does

  /** @param {{silent?: boolean, fresh?: boolean}} how silent: typed; fresh: what was said before is forgotten */
  begin({ silent = false, fresh } = {}) {
    const { call, conversation } = this._app;
    if (call.active) return;
    fresh ??= !conversation.turns.length || (call.state === "ended" && !call.endedThere);
    clearToasts();
    if (fresh) {
      conversation.clear();
      this._turns.clear();
      this._beside.clear();
      this.score.clear();
      keep([]);
    }
    this._goesOn = !fresh;
    call.start({ deviceId: this._deviceId, silent, pushToTalk: remember.get("mode") === "push" });
  }

  focusText() {
    if (this._app.call.live) this._dock.focusText();
  }

  _say(text) {
    this._app.call.say(text);
    this._show(this._app.conversation.type(text));
    this._dock.showStatus();
    this._turns.toEnd(true);
  }

  _mode(push) {
    remember.set("mode", push ? "push" : "free");
    if (this._app.call.live) this._app.call.setPushToTalk(push);
    this._showStart();
    this._dock.show();
  }

  // --------------------------------------------------------------------------- the microphones

  async _listDevices() {
    this._devices = await microphone.devices();
    this._showStart();
    this._dock.show();
  }

  /** The choice of one, where there are as many. */
  _microphones(where, least) {
    if (this._devices.length < least) return null;
    const choose = () => {
      this._deviceId = select.value;
      remember.set("microphone", select.value);
      if (this._app.call.live) this._app.call.use(select.value);
    };
    const select = h("select", { id: `microphone-${where}`, "data-keep": `microphone-${where}`, on: { change: choose } }, this._devices.map(({ id, name }) => h("option", { value: id }, name)));
    select.value = this._devices.some(({ id }) => id === this._deviceId) ? this._deviceId : this._devices[0].id;
    return h("div", { class: "pick" }, h("label", { for: select.id, class: "unseen" }, "Microphone"), icon("mic"), select);
  }

  // ------------------------------------------------------------------------ the call, and its end

  _callChanged() {
    const { call, conversation } = this._app;
    if (call.state !== this._was) this._entered(this._was);
    this._was = call.state;
    this.element.dataset.call = call.state;
    this._strip.hidden = !call.active && !this.score.drawn;
    this._showStart();
    this._dock.show();
    this._beside.show((turn) => this._waited(turn));
    this._turns.toEnd();
  }

  /** What comes with a new state, once. */
  _entered(before) {
    const { call, conversation } = this._app;
    if (call.live) {
      this._clockSkew = Infinity;
      this.score.start(() => this._levels());
      this._ticking ??= setInterval(() => this._tick(), TICK_MS);
      if (before !== "broken") {
        announce(call.hasMicrophone ? "Connected. Speak whenever you like." : "Connected. Type what you want to say.");
        if (this._goesOn) this._goOn("You went on here.");
      }
      this._listDevices();
      return;
    }
    if (call.state === "broken") {
      this._brokeAt ??= performance.now();
      announce("The connection broke. Trying again.", { now: true });
      return;
    }
    this.score.stop();
    clearInterval(this._ticking);
    this._ticking = this._brokeAt = null;
    this._setMeters(0, 0);
    if (call.active) return;
    this._showAll(conversation.goOn("", call.state === "lost" ? "broken" : "unfinished"));
    keep(conversation.turns);
    if (call.state === "lost") announce("The connection could not be had again.", { now: true });
    if (call.state === "failed") announce(call.error.message, { now: true });
    if (call.problem && call.state === "idle") announce(call.problem.message, { now: true });
    if (call.state === "ended") announce(call.endedThere ? "The server ended the conversation." : "The conversation is over.");
  }

  /** Connected again, to a session that knows nothing: it is told what was said. */
  _resumed() {
    const awayS = (performance.now() - (this._brokeAt ?? performance.now())) / 1000;
    this._brokeAt = null;
    this._goOn(`The connection broke, and came back${awayS >= AWAY_LEAST_S ? ` after ${span(awayS)}` : ""}.`);
    announce("Connected again. You can go on.", { now: true });
  }

  _goOn(seam) {
    const { call, conversation } = this._app;
    const said = conversation.told();
    this._showAll(conversation.goOn(said.length ? `${seam} The assistant was told what was said before.` : seam, "broken"));
    call.tell(said);
    this._dock.showStatus();
  }

  _showAll(turns) {
    for (const turn of turns) this._show(turn);
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
    const waiting = this._app.conversation.turns.at(-1);
    if (this._app.call.live && waiting && this._waited(waiting) !== null) {
      this._show(waiting);
      this._beside.showNow((turn) => this._waited(turn));
    }
    this._dock.tick();
  }

  // --------------------------------------------------------------------------------- what happens

  _take(event) {
    const { conversation, questions } = this._app;
    const local = performance.now() / 1000;
    if (event.type !== "audio_started") this._clockSkew = Math.min(this._clockSkew, local - event.t_s); // that one is told ahead
    const cuts = conversation.interruptions;
    const turn = conversation.apply(event);
    if (event.type === "committed") this.score.mark("over");
    if (event.type === "audio_started") this.score.mark("audible");
    if (conversation.interruptions > cuts) this.score.mark("cut");
    tell(event);
    this._beside.log(event);
    if (event.type === "warning" && !turn) toast(event.message);
    if (event.type === "approval") questions.now();
    if (event.type === "turn_ended") keep(conversation.turns);
    if (turn) this._show(turn);
    this._dock.showStatus();
    if (turn) this._beside.show((one) => this._waited(one));
  }

  _show(turn) {
    this._turns.show(turn, this._app.conversation.turns, this._waited(turn));
  }

  /** For how long an answer has been waited for, in ms; null while nobody waits for one. */
  _waited(turn) {
    const zero = turn.timings.speech_end_s;
    if (zero == null || turn.ended || turn.timings.audible_s != null || !["thinking", "hearing"].includes(turn.status) || !Number.isFinite(this._clockSkew)) return null;
    return Math.max(0, performance.now() / 1000 - this._clockSkew - zero) * 1000;
  }

  _showStart() {
    const { call, conversation } = this._app;
    this._turns.element.hidden = !conversation.turns.length && !call.live;
    if (call.live) this._turns.element.dataset.empty = call.hasMicrophone ? "Say something: it is listening." : "Type below what you want to say.";
    this._start.show([this._devices, this._deviceId]);
  }
}

// ------------------------------------------------------------------------------------------------ pieces

function meter(name) {
  return h("span", { class: "meter", role: "meter", "aria-label": name, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" }, h("span", { class: "fill" }));
}

/** For a screen reader: what is settled, once. */
function tell(event) {
  if (remember.get("captions", "on") !== "on") return;
  if (event.type === "transcript" && event.final && event.text) announce(`${event.role === "user" ? "You" : "Antiphon"}: ${event.text}`);
  else if (event.type === "interrupted" && !event.acknowledged) announce(`Interrupted. Heard: ${event.heard || "nothing"}`);
  else if (event.type === "tool_call") announce(`Calls ${event.name}`);
  else if (event.type === "approval" && event.state === "pending") announce(`Waiting for a yes: ${event.question}`, { now: true });
  else if (event.type === "error") announce(`Something failed: ${event.message}`);
}

/** A refusal of the server that the user has to know of. */
function notice(event) {
  if (event.type !== "error") return;
  const code = event.error?.code ?? "";
  if (code.includes("cancel") || code.includes("buffer_commit_empty")) return; // nothing was going on, nothing was said
  toast(event.error?.message ?? "The server refused that.", { bad: true });
}
