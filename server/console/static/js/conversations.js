// Earlier conversations: search, read, and hear them again.

import { json, request } from "./api.js";
import { blank } from "./approvals.js";
import { button, clock, count, day, exactClock, fill, h, icon, span, toast } from "./dom.js";
import { setScale } from "./fall-view.js";
import { TurnView } from "./turn-view.js";

const TYPING_MS = 250;

export class ConversationsPage {
  constructor(app) {
    this.title = "Conversations";
    this._app = app;
    this._found = [];
    this._after = null;
    this._chosen = null;
    this._field = h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", maxlength: "200", placeholder: "Search what was said and done", on: { input: () => this._typed() } });
    this._count = h("p", { class: "soft small", role: "status" });
    this._list = h("ul", { class: "sessions" });
    this._more = button("Show more", { class: "plain", press: () => this._load(true), hidden: true });
    this._detail = h("section", { class: "detail", "aria-label": "The conversation", tabindex: "-1" });
    this._finder = h("section", { class: "finder", "aria-label": "Conversations" }, h("div", { class: "search" }, h("label", { for: "search", class: "unseen" }, "Search"), icon("search"), this._field), this._count, this._list, this._more);
    this.element = h("div", { class: "page past" }, h("h1", { class: "unseen" }, "Conversations"), this._finder, this._detail);
  }

  async shown(session = "") {
    this.element.classList.toggle("reading", Boolean(session));
    await this._app.state.known();
    const kept = this._app.state.value?.transcripts.kept;
    if (this._app.state.needsKey) return this._nothing("key", "This server asks for a key", "Enter it with the key sign above.");
    if (!this._app.state.may("transcripts")) return this._nothing("key", "This key is not for transcripts", "Ask for one with the scope “transcripts”.");
    if (kept === false) return this._nothing("past", "Conversations are not kept here", "Set transcript.store: sqlite in the configuration, and they are.");
    this._finder.hidden = false;
    this._load();
    if (session) await this._read(session);
    else this._placeholder();
  }

  hidden() {
    this._player?.pause();
  }

  focusSearch() {
    this._field.focus();
    this._field.select();
  }

  _nothing(...what) {
    this._finder.hidden = true;
    fill(this._detail, blank(...what));
  }

  _placeholder() {
    this._chosen = null;
    this._mark();
    fill(this._detail, blank("past", "Choose a conversation", "What was said, which tools ran, what was never heard, and how long each answer took."));
  }

  _typed() {
    clearTimeout(this._typing);
    this._typing = setTimeout(() => this._load(), TYPING_MS);
  }

  async _load(more = false) {
    const words = this._field.value.trim();
    const asked = new URLSearchParams({ words, limit: "30", after: more ? (this._after ?? "") : "" });
    this._loading?.abort();
    const loading = (this._loading = new AbortController());
    if (!this._found.length) fill(this._list, [1, 2, 3].map(() => h("li", { class: "ghost", "aria-hidden": "true" })));
    try {
      const { sessions, after } = await json(`/v1/transcripts?${asked}`, { signal: loading.signal });
      this._found = more ? [...this._found, ...sessions] : sessions;
      this._after = after;
    } catch (error) {
      if (loading.signal.aborted) return;
      this._found = [];
      this._after = null;
      fill(this._list, h("li", {}, blank("warn", "They cannot be read", error.message, button("Try again", { icon: "again", class: "plain", press: () => this._load() }))));
      this._count.textContent = "";
      return;
    }
    this._more.hidden = !this._after;
    const many = `${count(this._found.length, "conversation")}${this._after ? " and more" : ""}`;
    this._count.textContent = words ? `${many} with “${words}”` : many;
    if (this._found.length) fill(this._list, this._found.map((one) => this._line(one, words)));
    else fill(this._list, h("li", {}, words ? blank("search", "Nothing was found", "Every word has to stand in one and the same sentence, call or result.") : blank("past", "No conversation yet", "Talk, and it will be here.")));
    this._mark();
  }

  _line(one, words) {
    const marks = [one.audio && "recorded", !one.ended && "not ended", one.resumed_from && "continued"].filter(Boolean);
    return h(
      "li",
      {},
      h(
        "a",
        { href: `#/conversations/${encodeURIComponent(one.id)}`, data: { session: one.id } },
        h("span", { class: "when" }, h("b", {}, day(one.started_at)), ` ${clock(one.started_at)}`),
        h("span", { class: "soft small" }, [count(one.turns, "turn"), one.person && `with ${one.person}`, ...marks].filter(Boolean).join(" · ")),
        !one.hits.length && one.opening && h("span", { class: "hit user", dir: "auto" }, one.opening),
        one.hits.map((hit) => h("span", { class: `hit ${hit.who}`, dir: "auto" }, highlighted(hit.text, words))),
      ),
    );
  }

  _mark() {
    for (const link of this._list.querySelectorAll("a")) {
      if (link.dataset.session === this._chosen) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  // ------------------------------------------------------------------------------------- one of them

  async _read(session) {
    this._chosen = session;
    this._mark();
    this._player?.pause();
    this._player = null;
    fill(this._detail, h("p", { class: "blank", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), "Reading it"));
    let talk;
    try {
      talk = await json(`/v1/transcripts/${encodeURIComponent(session)}`);
    } catch (error) {
      if (this._chosen === session) fill(this._detail, this._back(), blank("warn", error.status === 404 ? "It is gone" : "It cannot be read", error.message));
      return;
    }
    if (this._chosen !== session) return;
    this._talk = talk;
    this._turns = h("div", { class: "turns" });
    this._audio = h("div", { class: "player" });
    fill(this._detail, this._back(), this._head(talk), this._audio, this._turns, used(talk.usage));
    this._showTurns();
    this._detail.focus({ preventScroll: true });
    if (talk.audio) await this._open(session);
  }

  _back() {
    return h("a", { class: "back", href: "#/conversations" }, icon("back"), "All conversations");
  }

  _head(talk) {
    const facts = [count(talk.turns, "turn"), talk.person && `with ${talk.person}`, !talk.ended && "not ended: it is going on, or its process died"].filter(Boolean).join(" · ");
    const save = (kind, label) => button(label, { icon: "download", class: "plain small", press: () => this._save(talk.id, kind) });
    return h(
      "header",
      { class: "top" },
      h("h2", {}, `${day(talk.started_at)}, ${clock(talk.started_at)}`),
      h("p", { class: "soft" }, facts),
      h("p", { class: "soft small" }, h("code", {}, talk.id), talk.resumed_from && [" · goes on from ", h("a", { href: `#/conversations/${encodeURIComponent(talk.resumed_from)}` }, talk.resumed_from)]),
      h("div", { class: "buttons" }, save("md", "Text"), save("vtt", "Subtitles"), save("jsonl", "Records")),
    );
  }

  async _save(session, kind) {
    try {
      const response = await request(`/v1/transcripts/${encodeURIComponent(session)}/export?kind=${kind}`);
      const url = URL.createObjectURL(await response.blob());
      h("a", { href: url, download: `${session}.${kind}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      toast(error.message, { bad: true });
    }
  }

  async _open(session) {
    let ticket;
    try {
      ticket = await json(`/v1/transcripts/${encodeURIComponent(session)}/ticket`, { body: {} });
    } catch (error) {
      const early = error.code === "recording_open";
      fill(this._audio, h("p", { class: early ? "note" : "note bad" }, icon("warn"), h("span", {}, early ? "Its recording can be heard once it has ended." : error.message)));
      return;
    }
    if (this._chosen !== session) return;
    const player = h("audio", { controls: true, preload: "metadata", src: ticket.url, "aria-label": "The recording: you left, the assistant right" });
    player.addEventListener("timeupdate", () => this._follow(player.currentTime));
    player.addEventListener("error", () => this._again(session, player.currentTime));
    this._player = player;
    fill(this._audio, player, h("p", { class: "soft small" }, "You on the left, the assistant on the right. A time below plays from there."));
    this._showTurns();
  }

  /** The address of the recording is for a quarter of an hour: get a new one, once. */
  async _again(session, at) {
    if (this._retried === session || !at) {
      fill(this._audio, h("p", { class: "note bad" }, icon("warn"), "The recording cannot be played."));
      return;
    }
    this._retried = session;
    await this._open(session);
    if (this._player) this._player.currentTime = at;
  }

  _follow(at) {
    const turns = this._talk.turns_shown.filter((turn) => turn.from_s !== null);
    const now = turns.findLast((turn) => turn.from_s <= at + 0.2);
    for (const view of this._turns.children) view.classList.toggle("playing", Boolean(now) && view.id === `past-${this._talk.turns_shown.indexOf(now)}`);
  }

  _play(at) {
    if (!this._player) return;
    this._player.currentTime = at;
    this._player.play().catch((error) => toast(error.message, { bad: true }));
  }

  _showTurns() {
    const talk = this._talk;
    setScale(this._turns, talk.turns_shown);
    fill(
      this._turns,
      talk.turns_shown.map((turn, index) => {
        const view = new TurnView(asTurn(turn, `past-${index}`), { at: this._when(turn) });
        view.show();
        return view.element;
      }),
    );
  }

  _when(turn) {
    const at = turn.at && h("time", { datetime: turn.at, class: "soft small" }, exactClock(turn.at));
    const play =
      this._player && turn.from_s !== null
        ? h("button", { type: "button", class: "button plain small", "aria-label": `Play from ${span(turn.from_s)}`, "data-keep": `play-${turn.turn}-${turn.from_s}`, on: { click: () => this._play(turn.from_s) } }, icon("play"), h("span", {}, span(turn.from_s)))
        : null;
    return h("div", { class: "when" }, play, at);
  }
}

/** A turn of a transcript, as those of the talk page are. */
function asTurn(turn, id) {
  const cut = Boolean(turn.unheard.trim());
  return {
    id,
    number: turn.turn,
    user: turn.user,
    userFinal: true,
    typed: false,
    written: turn.heard,
    spoken: turn.heard,
    heard: cut ? turn.heard : null,
    unheard: turn.unheard,
    paused: false,
    status: turn.aside ? "dismissed" : turn.status,
    warnings: [],
    fillers: [],
    seam: "",
    calls: turn.calls.map((call) => ({ ...call, id: call.call_id, doubt: "in doubt: no result was recorded" })),
    approvals: turn.approvals.map((one) => ({ ...one, id: one.approval_id, arguments: "" })),
    checks: [],
    errors: turn.errors,
    timings: turn.timings,
    speculation: null,
    usage: turn.usage,
    ended: true,
  };
}

function highlighted(text, words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = wanted.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  if (!found) return text;
  return text.split(new RegExp(`(${found})`, "giu")).map((part) => (wanted.includes(part.toLowerCase()) ? h("mark", {}, part) : part));
}

const UNITS = { audio_s: "s of audio", input_tokens: "tokens in", output_tokens: "tokens out", cached_tokens: "tokens found evaluated", output_pieces: "pieces of stopped answers", characters: "characters" };

function used(usage) {
  if (!usage.length) return null;
  const row = (one) => h("tr", {}, h("th", { scope: "row" }, one.stage), h("td", {}, one.engine), h("td", { class: "num" }, `${Number(one.amount.toPrecision(4)).toLocaleString()} ${UNITS[one.unit] ?? one.unit}`), h("td", { class: "num soft" }, one.wasted ? `${Number(one.wasted.toPrecision(3)).toLocaleString()} in vain` : ""));
  return h("details", { class: "used" }, h("summary", {}, "What the engines used"), h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, usage.map(row)))));
}

