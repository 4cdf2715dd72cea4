// What the talk page says while nobody talks, and how one begins: with which microphone, hands-free or pushing a key.

import { button, count, fill, h, icon, remember, sentence } from "./dom.js";

export class Start {
  /**
   * @param {object} app with `call`, `conversation`, `state`, `askKey`
   * @param {{begin: Function, mode: (push: boolean) => void, microphones: () => HTMLElement|null}} deeds
   *   begin: ({silent, fresh}); microphones: the choice of one, where there is any
   */
  constructor(app, deeds) {
    this.element = h("section", { class: "start" });
    this._app = app;
    this._deeds = deeds;
    this._told = "";
  }

  /** @param {unknown} more that has changed it, too */
  show(more) {
    const { call, conversation, state } = this._app;
    this.element.hidden = call.live || call.state === "broken";
    if (this.element.hidden) {
      this._told = "";
      return;
    }
    const kept = conversation.turns.length > 0;
    this.element.classList.toggle("again", kept);
    // Only what has changed is drawn anew: the server is asked every few seconds.
    const news = JSON.stringify([call.state, call.endedThere, kept, call.error?.message, call.problem?.message, state.word, state.error?.message, state.value?.sessions, state.value?.engines.map((one) => one.model ?? one.engine), remember.get("mode"), more]);
    if (news === this._told) return;
    this._told = news;
    fill(this.element, call.active ? connecting(call) : this._invitation(kept));
  }

  _invitation(kept) {
    const { call, state } = this._app;
    const [title, text, bad] = words(call, state, kept);
    const blocked = ["loading", "draining", "key"].includes(state.word);
    return [
      !bad && !kept && motif(),
      h("h2", { class: bad ? "bad" : "" }, bad && icon("warn"), title),
      h("p", {}, text),
      state.needsKey ? h("div", { class: "buttons" }, button("Enter the key", { icon: "key", class: "main", press: () => this._app.askKey(), "data-keep": "key" })) : h("div", { class: "buttons" }, this._ways(kept, blocked)),
      !blocked && this._choices(),
      !kept && state.value && h("p", { class: "chain" }, chain(state.value.engines)),
    ];
  }

  /** Where something was said, one may go on with it, or begin anew; which comes first depends on how it ended. */
  _ways(kept, blocked) {
    const { call } = this._app;
    const failed = call.state === "failed" || call.problem;
    const way = (label, sign, how, main, keep) => button(label, { icon: sign, class: main ? "main big" : "plain big", press: () => this._deeds.begin(how), disabled: blocked, "data-keep": keep });
    if (!kept) return [way(failed ? "Try again" : "Talk", failed ? "again" : "mic", { fresh: true }, true, "talk"), way("Type instead", "keyboard", { silent: true, fresh: true }, false, "type")];
    const done = call.state === "ended" && !call.endedThere;
    const ways = [way("Go on", "mic", { fresh: false }, !done, "talk"), way("New conversation", done ? "mic" : "again", { fresh: true }, done, "new")];
    return [done ? ways.reverse() : ways, way("Type instead", "keyboard", { silent: true, fresh: done }, false, "type")];
  }

  _choices() {
    const push = remember.get("mode") === "push";
    const mode = (value, label, hint) => {
      const input = h("input", { type: "radio", name: "mode", value, on: { change: () => this._deeds.mode(value === "push") }, "data-keep": `mode-${value}` });
      input.checked = (value === "push") === push;
      return h("label", { title: hint }, input, h("span", {}, label));
    };
    return h(
      "div",
      { class: "choices" },
      h("fieldset", { class: "switch" }, h("legend", { class: "unseen" }, "How to talk"), mode("free", "Hands-free", "The server hears when you have finished"), mode("push", "Push to talk", "Hold the space bar, or the button, while you speak")),
      this._deeds.microphones(),
    );
  }
}

/** A question above the line, its answer below. */
function motif() {
  const bars = (who, heights) => h("span", { class: `bars ${who}` }, heights.map((height) => h("i", { style: { height: `${height}%` } })));
  return h("div", { class: "motif", "aria-hidden": "true" }, bars("you", [26, 58, 40, 92, 66, 34, 78, 52, 88, 44, 18]), bars("them", [22, 70, 48, 96, 62, 82, 36, 74, 54, 90, 60, 40, 68, 28]));
}

function connecting(call) {
  const asking = call.state === "asking";
  return [
    h("h2", {}, h("span", { class: "spinner", "aria-hidden": "true" }), asking ? "Asking for the microphone" : "Connecting"),
    h("p", {}, asking ? "Your browser may ask you first." : "Finding a way to the server for the sound."),
  ];
}

/** Title, text, and whether it is bad news: what the page says while nobody talks. */
function words(call, state, kept) {
  const value = state.value;
  if (state.word === "key") return ["This server asks for a key", "Ask whoever runs it for one. It is kept in this tab alone, until you close it."];
  if (state.word === "away") return ["The server cannot be reached", "It may be starting, or gone. This page looks again every few seconds.", true];
  if (state.word === "limited") return ["The server is asked too often", `${sentence(state.error.message)} This page looks again by itself.`, true];
  if (["audit", "trouble"].includes(state.word)) return ["The server does not answer as it should", `${sentence(state.error.message)} This page looks again by itself.`, true];
  if (state.word === "loading") return ["The engines are being loaded", "This takes a few seconds, on the first start a little longer."];
  if (state.word === "draining") return ["The server is shutting down", "It takes no more conversations.", true];
  if (call.problem) return ["No microphone", call.problem.message, true];
  if (call.state === "lost") return ["The connection broke", "It could not be had again. You can go on where you were: the assistant is told what was said above.", true];
  if (call.state === "failed") return failure(call.error);
  if (state.word === "full") return ["All lines are taken", `${count(value.sessions, "conversation")} under way, and no more than ${value.max_sessions} are allowed. Try again in a moment.`, true];
  if (state.word === "busy") return ["All lines are taken", "The machine carries no more conversations just now. Try again in a moment.", true];
  if (call.state === "ended" && call.endedThere) return ["The server ended the conversation", "You can go on where you were: the assistant is told what was said above."];
  if (call.state === "ended") return ["The conversation is over", "It stays above until you begin another one, or close this tab."];
  if (kept) return ["Go on where you were?", "This tab kept what was said above, and the assistant is told of it."];
  return ["Talk to it", "Speak as you would to a person: it hears when you have finished, and you may talk over it."];
}

function failure(error) {
  const wait = error.retryAfterS ? ` Try again in ${count(Math.ceil(error.retryAfterS), "second")}.` : "";
  if (error.status === 503) return [["full", "busy"].includes(error.code) ? "All lines are taken" : "Not now", `${sentence(error.message)}${wait}`, true];
  if (error.status === 401 || error.status === 403) return ["The key is not for this", sentence(error.message), true];
  if (error.status === 404 || error.status === 501) return ["No calls over WebRTC here", sentence(error.message), true];
  return ["That did not work", `${sentence(error.message)}${wait}`, true];
}

function chain(engines) {
  const first = engines.filter((one) => one.fallback === 0 && one.stage !== "turn" && one.stage !== "vad");
  return first.map((one, index) => h("span", { class: "step" }, index > 0 && h("span", { "aria-hidden": "true" }, "→"), h("span", { class: `link k-${one.stage}` }, one.model ?? one.engine)));
}
