// A conversation by voice or by typing: its microphone, its connection, another one when that breaks, and what the user
// does while it lasts.

import { ApiError } from "./api.js";
import { Meter } from "./levels.js";
import { hangUp, Link } from "./link.js";
import * as microphone from "./microphone.js";
import { nextTryMs } from "./patience.js";

const TAIL_MS = 250; // what was said just before the key was let go is still on its way

/**
 * Events: `state` (after `state` or `shaky` changed), `resumed` (there is a connection again: the server begins a new
 * session), `pipeline` and `realtime` (detail: the event), `microphone` (after `problem` or the device changed), `blocked`
 * (the browser plays no sound yet).
 */
export class Call extends EventTarget {
  constructor() {
    super();
    /** idle, asking, connecting, live, broken (it is tried again at `triesAt`), lost, ended, failed. */
    this.state = "idle";
    /** Why it failed, was lost, or was refused: an ApiError. */
    this.error = null;
    /** Why there is no microphone: a MicrophoneError, or null. */
    this.problem = null;
    /** Nothing comes through just now. */
    this.shaky = false;
    /** Whether the server ended it. */
    this.endedThere = false;
    /** When the next connection is tried, by `performance.now()`; null while one is. */
    this.triesAt = null;
    this.muted = false;
    this.pushToTalk = false;
    this.pressed = false;
    this.hasMicrophone = false;
    this.startedAt = 0;
    this.player = new Audio();
    this.player.autoplay = true;
    this._orphans = new Set(); // ids of calls that could not say goodbye, and hold their places
    this._forget();
  }

  /** Under way, or about to be. */
  get active() {
    return ["asking", "connecting", "live", "broken"].includes(this.state);
  }

  get live() {
    return this.state === "live";
  }

  // -------------------------------------------------------------------------------- begin and end

  /**
   * @param {{deviceId?: string, silent?: boolean, pushToTalk?: boolean}} options silent: typed, without a microphone
   */
  async start({ deviceId = "", silent = false, pushToTalk = false } = {}) {
    if (this.active) return;
    this._release();
    const attempt = (this._attempt = {});
    this.error = this.problem = null;
    this.muted = this.pressed = this.endedThere = false;
    this.pushToTalk = pushToTalk && !silent;
    this._become("asking");
    this._context = new AudioContext();
    this._context.resume();
    this.mine = new Meter(this._context);
    this.theirs = new Meter(this._context);
    const stream = silent ? null : await this._ask(deviceId, () => this._attempt === attempt);
    if (this._attempt !== attempt) return;
    if (!silent && !stream) {
      this._release();
      this._become("idle");
      return;
    }
    this._take(stream);
    this._become("connecting");
    try {
      await this._connect();
    } catch (error) {
      if (this._attempt === attempt) this._finish("failed", asApiError(error));
      return;
    }
    if (this._attempt !== attempt) return;
    this.startedAt = performance.now();
    this._live();
  }

  end() {
    if (this.active) this._finish("ended");
  }

  /** The page is left: nobody will be there to say goodbye. */
  leave() {
    if (this.active) this._abandon();
    this._hangUp();
  }

  /** Try now, where one waits to. */
  tryNow() {
    this._hurry?.();
  }

  /** One that comes when nobody waits for it any more is turned off: nobody else would. */
  async _ask(deviceId, isWanted) {
    let stream = null;
    let problem = null;
    try {
      stream = await microphone.open(deviceId);
    } catch (error) {
      problem = error;
    }
    if (isWanted()) {
      this.problem = problem;
      return stream;
    }
    stop(stream);
    return null;
  }

  async _connect() {
    const link = (this._link = new Link());
    link.addEventListener("sound", ({ detail }) => this._play(detail));
    link.addEventListener("event", ({ detail }) => this._hear(detail));
    link.addEventListener("pipeline", ({ detail }) => this.dispatchEvent(new CustomEvent("pipeline", { detail })));
    link.addEventListener("shaky", () => this._shake(true));
    link.addEventListener("steady", () => this._shake(false));
    link.addEventListener("over", () => {
      if (!this.live) return;
      this.endedThere = true;
      this._finish("ended");
    });
    link.addEventListener("down", ({ detail }) => this.live && this._regain(detail));
    this._gate();
    try {
      await link.open(this._stream?.getAudioTracks()[0] ?? microphone.silence(this._context));
    } catch (error) {
      link.close();
      throw error;
    }
  }

  /** The connection broke: try for another one, less and less often. */
  async _regain(error) {
    const attempt = (this._attempt = {});
    const brokeAt = performance.now();
    this.error = error;
    this._abandon();
    this._unlink();
    for (let tries = 0; ; tries += 1) {
      const wait = nextTryMs(tries, performance.now() - brokeAt, tries ? this.error : null);
      if (wait === null) return this._finish("lost", this.error);
      this.triesAt = performance.now() + wait;
      this._become("broken");
      await this._wait(wait);
      if (this._attempt !== attempt) return;
      this.triesAt = null;
      this.dispatchEvent(new Event("state"));
      await this._hangUp(); // the place that it holds may be the last one
      if (this._attempt !== attempt) return;
      try {
        await this._connect();
      } catch (failed) {
        if (this._attempt !== attempt) return;
        this.error = asApiError(failed);
        this._abandon();
        this._unlink();
        continue;
      }
      if (this._attempt !== attempt) return;
      this.error = null;
      this._live();
      this.dispatchEvent(new Event("resumed"));
      return;
    }
  }

  /** So long, or until the network is there again, or somebody is impatient. */
  _wait(ms) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener("online", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      addEventListener("online", done);
      this._hurry = done;
    });
  }

  _live() {
    this._become("live");
    this._configure();
  }

  _finish(state, error = null) {
    this.error = error;
    this._release();
    this._become(state);
  }

  /** Nothing gets through any more by which this call could say goodbye. */
  _abandon() {
    if (this._link?.callId) this._orphans.add(this._link.callId);
  }

  async _hangUp() {
    await Promise.all([...this._orphans].map(async (callId) => (await hangUp(callId)) && this._orphans.delete(callId)));
  }

  /** Let go of the connection, and keep the microphone. */
  _unlink() {
    this._link?.close();
    this.player.srcObject = null;
    this.theirs?.listen(null);
    this._link = this._listening = null;
    this._responding = this._manual = this.shaky = this.pressed = false;
  }

  _release() {
    this._attempt = null;
    clearTimeout(this._tail);
    this._hurry?.();
    if (this.shaky || !this.live) this._abandon();
    this._hangUp();
    this._unlink();
    stop(this._stream);
    this._context?.close();
    this._forget();
  }

  _forget() {
    this._attempt = this._using = this._link = this._stream = this._context = this._hurry = null;
    this._listening = null; // how the server finds the end of a turn, as it said at the beginning
    this._responding = false;
    this._manual = false; // what the server was told of push to talk
    this.mine = this.theirs = this.triesAt = null;
  }

  _become(state) {
    if (this.state === state && state !== "broken") return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  _shake(shaky) {
    if (!this.live || this.shaky === shaky) return;
    this.shaky = shaky;
    this.dispatchEvent(new Event("state"));
  }

  // ------------------------------------------------------------------------------------- what comes

  _play(stream) {
    this.player.srcObject = stream;
    this.player.play().catch(() => this.player.srcObject === stream && this.dispatchEvent(new Event("blocked")));
    this.theirs?.listen(stream);
  }

  _hear(event) {
    if (event.type === "session.created") {
      this._listening = event.session?.audio?.input?.turn_detection ?? null;
      this._configure();
    } else if (event.type === "response.created") this._responding = true;
    else if (event.type === "response.done") this._responding = false;
    this.dispatchEvent(new CustomEvent("realtime", { detail: event }));
  }

  /** Who ends a turn: the server, or the key. */
  _configure() {
    if (!this.live || this._manual === this.pushToTalk) return;
    this._manual = this.pushToTalk;
    const detection = this.pushToTalk ? null : this._listening;
    this._send({ type: "session.update", session: { type: "realtime", audio: { input: { turn_detection: detection } } } });
  }

  _send(event) {
    this._link?.send(event);
  }

  // ------------------------------------------------------------------------------- the microphone

  _take(stream) {
    this._stream = stream;
    this.hasMicrophone = Boolean(stream);
    this.mine.listen(stream);
    this._gate();
    // One that is pulled out leaves silence; the conversation goes on.
    stream?.getAudioTracks()[0].addEventListener("ended", () => {
      if (this._stream !== stream || !this._context) return;
      this.pressed = false;
      this._take(null);
      this._link?.replace(microphone.silence(this._context));
      this.problem = new microphone.MicrophoneError("none", "The microphone is gone. Type, or use another one.");
      this.dispatchEvent(new Event("microphone"));
    });
  }

  /** It is heard unless it is muted, or waits for the key. */
  _gate() {
    const heard = !this.muted && (!this.pushToTalk || this.pressed);
    this._stream?.getAudioTracks().forEach((track) => (track.enabled = heard));
  }

  /** Another microphone, or one where there was none, in the middle of the conversation. */
  async use(deviceId) {
    if (!this._context) return;
    const using = (this._using = {}); // whoever asks again before it is there means the later one
    const stream = await this._ask(deviceId, () => this._using === using);
    if (this._using !== using) return;
    if (stream) await this._swap(stream);
    this.dispatchEvent(new Event("microphone"));
  }

  /** It is taken first: so it is turned off with the conversation, and a connection that breaks meanwhile comes back with it. */
  async _swap(stream) {
    const [before, link] = [this._stream, this._link];
    this._take(stream);
    try {
      await link?.replace(stream.getAudioTracks()[0]);
    } catch {
      if (this._stream === stream && this._link === link) {
        this._take(before);
        stop(stream);
        this.problem = new microphone.MicrophoneError("failed", "The microphone could not be put into the conversation. Try again.");
        return;
      }
    }
    stop(before);
  }

  // -------------------------------------------------------------------------------- what one does

  setPushToTalk(on) {
    this.pushToTalk = on;
    this.pressed = false;
    this._gate();
    this._configure();
    this.dispatchEvent(new Event("microphone"));
  }

  setMuted(on) {
    this.muted = on;
    this._gate();
    this.dispatchEvent(new Event("microphone"));
  }

  press() {
    if (!this.live || !this.pushToTalk || !this.hasMicrophone) return;
    clearTimeout(this._tail); // pressed again at once: still the same turn
    if (this.pressed) return;
    this.interrupt();
    this._send({ type: "input_audio_buffer.clear" });
    this.pressed = true;
    this.muted = false;
    this._gate();
    this.dispatchEvent(new Event("microphone"));
  }

  release() {
    if (!this.pressed) return;
    this._tail = setTimeout(() => {
      if (!this.pressed) return;
      this.pressed = false;
      this._gate();
      this._send({ type: "input_audio_buffer.commit" });
      this._send({ type: "response.create" });
      this.dispatchEvent(new Event("microphone"));
    }, TAIL_MS);
  }

  /** Stop the reply: what has not been heard of it will not be. */
  interrupt() {
    if (this._responding) this._send({ type: "response.cancel" });
    this._send({ type: "output_audio_buffer.clear" });
  }

  /** Say something by typing it. */
  say(text) {
    if (this._responding) this.interrupt();
    this._put("user", "input_text", text);
    this._send({ type: "response.create" });
  }

  /**
   * Tell a session what was said in the one before it.
   * @param {{role: "user"|"assistant", text: string}[]} said
   */
  tell(said) {
    for (const { role, text } of said) this._put(role, role === "user" ? "input_text" : "output_text", text);
  }

  _put(role, type, text) {
    this._send({ type: "conversation.item.create", item: { type: "message", role, content: [{ type, text }] } });
  }
}

const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());

const asApiError = (error) => (error instanceof ApiError ? error : new ApiError(0, "broken", String(error.message ?? error)));
