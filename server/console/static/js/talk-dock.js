// The controls of a conversation under way: what goes on, the buttons, the key of push to talk, and the line to type in.

import { approvalCard } from "./approval-card.js";
import { button, fill, h, icon, span } from "./dom.js";

const PHASES = {
  listening: ["Listening", "Say something."],
  hearing: ["Hearing you", ""],
  thinking: ["Thinking", ""],
  speaking: ["Speaking", "Talk over it to interrupt."],
  asking: ["Waiting for a yes", "Somebody has to decide."],
  typing: ["Ready", "Type below."],
};
/** The keyboard of a phone takes its time to go. */
const KEYBOARD_MS = 350;

export class Dock {
  /**
   * @param {object} app with `call`, `conversation`, `questions`, `state`, `decide`
   * @param {{say: (text: string) => void, mode: (push: boolean) => void, microphones: () => HTMLElement|null, use: () => void}} deeds
   */
  constructor(app, deeds) {
    this._app = app;
    this._deeds = deeds;
    this._waiting = h("div", { class: "waiting" });
    this._status = h("div", { class: "status" });
    this._time = h("span", { class: "time", title: "since the beginning" }, "0:00");
    this._controls = h("div", { class: "controls" });
    this._field = h("input", { id: "say", type: "text", autocomplete: "off", enterkeyhint: "send", maxlength: "4000", placeholder: "Type instead of talking", dir: "auto" });
    this._form = h("form", { class: "say" }, h("label", { for: "say", class: "unseen" }, "Type instead of talking"), this._field, h("button", { type: "submit", class: "button bare", "aria-label": "Send" }, icon("send")));
    this.element = h("section", { class: "dock", "aria-label": "Controls" }, this._waiting, this._status, this._controls, this._form);
    this._wire();
  }

  _wire() {
    this._form.addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      const text = this._field.value.trim();
      if (!text || !this._app.call.live) return;
      this._field.value = "";
      this._deeds.say(text);
    });
    this._field.addEventListener("focus", () => document.body.classList.add("typing"));
    this._field.addEventListener("blur", () => {
      // Not at once: what the finger is on would move away under it.
      setTimeout(() => document.body.classList.toggle("typing", document.activeElement === this._field), KEYBOARD_MS);
    });
    this._form.lastChild.addEventListener("pointerdown", (down) => down.preventDefault());
  }

  focusText() {
    this._field.focus();
  }

  show() {
    this._form.hidden = !this._app.call.live;
    this._showControls();
    this.showStatus();
    this.showWaiting();
  }

  /** Several times a second. */
  tick() {
    const { call } = this._app;
    this._time.textContent = span((performance.now() - call.startedAt) / 1000);
    if (call.state === "broken") this._showBroken();
  }

  // ------------------------------------------------------------------------------------ what goes on

  showStatus() {
    const { call, conversation } = this._app;
    this._status.hidden = !call.live && call.state !== "broken";
    if (call.state === "broken") return this._showBroken();
    if (!call.live) return;
    const phase = call.hasMicrophone || conversation.phase !== "listening" ? conversation.phase : "typing";
    if (call.shaky) this._tell("broken", "Nothing comes through", "It may come back by itself.");
    else this._tell(phase, PHASES[phase][0], this._hint(phase));
    if (this._stop) this._stop.disabled = phase !== "speaking" && phase !== "thinking";
  }

  _hint(phase) {
    const { call } = this._app;
    if (call.muted) return "Muted: you are not heard.";
    if (call.pushToTalk && !call.pressed && phase === "listening") return "Hold the space bar or the button while you speak.";
    return PHASES[phase][1];
  }

  _showBroken() {
    const { triesAt } = this._app.call;
    const seconds = triesAt === null ? 0 : Math.ceil(Math.max(0, triesAt - performance.now()) / 1000);
    this._tell("broken", "The connection broke", triesAt === null ? "Connecting again …" : `Trying again in ${seconds} s.`);
  }

  _tell(kind, word, hint) {
    const news = `${kind} ${word} ${hint}`;
    if (this._news === news && this._time.isConnected) return;
    this._news = news;
    fill(this._status, h("span", { class: `phase is-${kind}` }, h("i", { "aria-hidden": "true" }), word), h("span", { class: "hint" }, hint), this._time);
  }

  showWaiting() {
    const { call, conversation, decide, questions, state } = this._app;
    const mine = (questions.value ?? []).filter((one) => call.live && one.session === conversation.session);
    this._waiting.hidden = !mine.length;
    fill(this._waiting, mine.map((one) => approvalCard({ ...one, leftS: questions.leftS(one) }, { decide: state.may("approvals") ? decide : undefined })));
  }

  // ------------------------------------------------------------------------------------ the buttons

  _showControls() {
    const { call } = this._app;
    this._controls.hidden = !call.active;
    if (!call.active) return;
    const end = button("End", { icon: "hangup", class: "bad", hint: "End the conversation", press: () => call.end(), "data-keep": "end" });
    if (!call.live) {
      fill(this._controls, call.state === "broken" && button("Try now", { icon: "again", class: "plain", press: () => call.tryNow(), disabled: call.triesAt === null, "data-keep": "now" }), end);
      return;
    }
    this._stop = button("Stop the reply", { icon: "stop", class: "plain shrink", hint: "Stop the reply (Esc)", press: () => call.interrupt(), "data-keep": "stop" });
    fill(
      this._controls,
      call.hasMicrophone ? [call.pushToTalk ? this._key() : mute(call), this._mode()] : button("Use a microphone", { icon: "mic", class: "plain", press: () => this._deeds.use(), "data-keep": "use" }),
      this._stop,
      call.hasMicrophone && this._deeds.microphones(),
      end,
    );
  }

  _mode() {
    const { pushToTalk } = this._app.call;
    return h("button", { type: "button", class: "button plain shrink", "aria-pressed": String(pushToTalk), title: "Push to talk", "data-keep": "mode", on: { click: () => this._deeds.mode(!pushToTalk) } }, icon("talk"), h("span", {}, pushToTalk ? "Push to talk" : "Hands-free"));
  }

  /** The key of push to talk: held by finger, mouse, or the keyboard. */
  _key() {
    const { call } = this._app;
    this._pushKey ??= pushKey(call);
    this._pushKey.classList.toggle("on", call.pressed);
    this._pushKey.setAttribute("aria-pressed", String(call.pressed));
    return this._pushKey;
  }
}

function mute(call) {
  const label = call.muted ? "Muted" : "Mute";
  return h("button", { type: "button", class: `button plain shrink${call.muted ? " on" : ""}`, "aria-pressed": String(call.muted), title: "Mute (M)", "data-keep": "mute", on: { click: () => call.setMuted(!call.muted) } }, icon(call.muted ? "mic-off" : "mic"), h("span", {}, label));
}

function pushKey(call) {
  const press = (event) => {
    if (event.button) return;
    event.preventDefault();
    event.currentTarget.setPointerCapture?.(event.pointerId);
    call.press();
  };
  const byKey = (down) => (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (down && !event.repeat) call.press();
    if (!down) call.release();
  };
  const letGo = () => call.release();
  return h(
    "button",
    { type: "button", class: "button hold", "data-keep": "hold", on: { pointerdown: press, pointerup: letGo, pointercancel: letGo, blur: letGo, keydown: byKey(true), keyup: byKey(false), contextmenu: (event) => event.preventDefault() } },
    icon("mic"),
    h("span", {}, "Hold to talk"),
  );
}
