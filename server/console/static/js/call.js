// A conversation over WebRTC: the offer, the two data channels, and what the user does while it lasts.
//
// `oai-events` carries OpenAI's Realtime events, `antiphon` those of the pipeline (docs/reference/events.md).

import { auth, errorOf, ApiError } from "./api.js";
import * as microphone from "./microphone.js";
import { Meter } from "./levels.js";

const CALLS = "/v1/realtime/calls";
const GATHERING_MS = 1500;
const CONNECTING_MS = 15000;
const LOST_MS = 6000;
const TAIL_MS = 250; // what was said just before the key was let go is still on its way

/**
 * Events: `state` (after `state` changed), `pipeline` and `realtime` (detail: the event), `microphone` (after `problem`
 * or the device changed).
 */
export class Call extends EventTarget {
  constructor() {
    super();
    /** idle, asking, connecting, live, lost, ended, failed. */
    this.state = "idle";
    /** Why it failed, was lost, or was refused: an ApiError. */
    this.error = null;
    /** Why there is no microphone: a MicrophoneError, or null. */
    this.problem = null;
    this.muted = false;
    this.pushToTalk = false;
    this.pressed = false;
    this.hasMicrophone = false;
    this.callId = "";
    this.startedAt = 0;
    this.player = new Audio();
    this.player.autoplay = true;
    this._listening = null; // how the server finds the end of a turn, as it said at the beginning
    this._responding = false;
    this._manual = false; // what the server was told of push to talk
  }

  get active() {
    return ["asking", "connecting", "live"].includes(this.state);
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
    this.muted = this.pressed = this._responding = this._manual = false;
    this.pushToTalk = pushToTalk && !silent;
    this._become("asking");
    this._context = new AudioContext();
    this._context.resume();
    this.mine = new Meter(this._context);
    this.theirs = new Meter(this._context);
    const stream = silent ? null : await this._ask(deviceId);
    if (this._attempt !== attempt) {
      stream?.getTracks().forEach((track) => track.stop());
      return;
    }
    if (!silent && !stream) {
      this._release();
      this._become("idle");
      return;
    }
    this._stream = stream;
    this.hasMicrophone = Boolean(stream);
    this.mine.listen(stream);
    this._become("connecting");
    try {
      await this._connect(attempt);
    } catch (error) {
      if (this._attempt === attempt) this._fail("failed", error instanceof ApiError ? error : new ApiError(0, "broken", String(error.message ?? error)));
    }
  }

  end() {
    if (!this.active) return;
    this._release();
    this._become("ended");
  }

  async _ask(deviceId) {
    try {
      return await microphone.open(deviceId);
    } catch (error) {
      this.problem = error;
      return null;
    }
  }

  async _connect(attempt) {
    const connection = (this._connection = new RTCPeerConnection());
    const track = this._stream?.getAudioTracks()[0] ?? microphone.silence(this._context);
    this._sender = connection.addTransceiver(track, { direction: "sendrecv" }).sender;
    this._gate();
    this._watchMicrophone();
    connection.addEventListener("track", ({ track: theirs }) => {
      const stream = new MediaStream([theirs]);
      this.player.srcObject = stream;
      this.player.play().catch(() => this.dispatchEvent(new Event("blocked")));
      this.theirs.listen(stream);
    });
    this._events = connection.createDataChannel("oai-events");
    this._pipeline = connection.createDataChannel("antiphon");
    this._events.addEventListener("message", ({ data }) => this._hear(data));
    this._pipeline.addEventListener("message", ({ data }) => this._watch(data));
    const opened = Promise.all([this._events, this._pipeline].map((channel) => new Promise((resolve) => channel.addEventListener("open", resolve, { once: true }))));
    this._events.addEventListener("close", () => this._attempt === attempt && this._gone());
    connection.addEventListener("connectionstatechange", () => this._attempt === attempt && this._look(connection));

    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const answer = await this._offer(connection.localDescription.sdp);
    if (this._attempt !== attempt) return;
    await connection.setRemoteDescription({ type: "answer", sdp: answer });
    await inTime(opened, CONNECTING_MS);
    if (this._attempt !== attempt) return;
    this.startedAt = performance.now();
    this._become("live");
    this._configure();
  }

  async _offer(sdp) {
    let response;
    try {
      response = await fetch(CALLS, { method: "POST", headers: { "Content-Type": "application/sdp", ...auth() }, body: sdp, credentials: "omit" });
    } catch {
      throw new ApiError(0, "offline", "The server cannot be reached.");
    }
    if (!response.ok) throw await errorOf(response);
    this.callId = (response.headers.get("Location") ?? "").split("/").pop();
    return response.text();
  }

  _look(connection) {
    clearTimeout(this._losing);
    if (connection.connectionState === "failed") this._fail("lost", new ApiError(0, "lost", "The connection broke."));
    else if (connection.connectionState === "disconnected") {
      this._losing = setTimeout(() => this._fail("lost", new ApiError(0, "lost", "The connection broke.")), LOST_MS);
    }
  }

  /** The server closed it: the conversation is over. */
  _gone() {
    if (!this.active) return;
    this._release();
    this._become("ended");
  }

  _fail(state, error) {
    this.error = error;
    this._release();
    this._become(state);
  }

  _release() {
    this._attempt = null;
    clearTimeout(this._losing);
    this._events?.close();
    this._pipeline?.close();
    this._connection?.close();
    this._stream?.getTracks().forEach((track) => track.stop());
    this._context?.close();
    this.player.srcObject = null;
    this._events = this._pipeline = this._connection = this._stream = this._context = this._sender = this._listening = null;
    this.mine = this.theirs = null;
  }

  _become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  // ------------------------------------------------------------------------------------- channels

  /** One of OpenAI's client events. */
  send(event) {
    if (this._events?.readyState === "open") this._events.send(JSON.stringify(event));
  }

  _hear(data) {
    const event = read(data);
    if (!event) return;
    if (event.type === "session.created") {
      this._listening = event.session?.audio?.input?.turn_detection ?? null;
      this._configure();
    } else if (event.type === "response.created") this._responding = true;
    else if (event.type === "response.done") this._responding = false;
    this.dispatchEvent(new CustomEvent("realtime", { detail: event }));
  }

  _watch(data) {
    const message = read(data);
    if (message?.type === "event" && message.event) this.dispatchEvent(new CustomEvent("pipeline", { detail: message.event }));
  }

  /** Who ends a turn: the server, or the key. */
  _configure() {
    if (!this.live || this._manual === this.pushToTalk) return;
    this._manual = this.pushToTalk;
    const detection = this.pushToTalk ? null : this._listening;
    this.send({ type: "session.update", session: { type: "realtime", audio: { input: { turn_detection: detection } } } });
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

  /** A microphone that is pulled out leaves silence; the conversation goes on. */
  _watchMicrophone() {
    const stream = this._stream;
    stream?.getAudioTracks()[0].addEventListener("ended", () => {
      if (this._stream !== stream || !this._context) return;
      this._stream = null;
      this.hasMicrophone = this.pressed = false;
      this._sender?.replaceTrack(microphone.silence(this._context));
      this.mine.listen(null);
      this.problem = new microphone.MicrophoneError("none", "The microphone is gone. Type, or use another one.");
      this.dispatchEvent(new Event("microphone"));
    });
  }

  /** The microphone is heard unless it is muted, or waits for the key. */
  _gate() {
    const heard = !this.muted && (!this.pushToTalk || this.pressed);
    this._stream?.getAudioTracks().forEach((track) => (track.enabled = heard));
  }

  press() {
    if (!this.live || !this.pushToTalk || this.pressed || !this.hasMicrophone) return;
    clearTimeout(this._tail);
    this.interrupt();
    this.send({ type: "input_audio_buffer.clear" });
    this.pressed = true;
    this.muted = false;
    this._gate();
    this.dispatchEvent(new Event("microphone"));
  }

  release() {
    if (!this.pressed) return;
    this._tail = setTimeout(() => {
      this.pressed = false;
      this._gate();
      this.send({ type: "input_audio_buffer.commit" });
      this.send({ type: "response.create" });
      this.dispatchEvent(new Event("microphone"));
    }, TAIL_MS);
  }

  /** Stop the reply: what has not been heard of it will not be. */
  interrupt() {
    if (this._responding) this.send({ type: "response.cancel" });
    this.send({ type: "output_audio_buffer.clear" });
  }

  /** Say something by typing it. */
  say(text) {
    if (this._responding) this.interrupt();
    this.send({ type: "conversation.item.create", item: { type: "message", role: "user", content: [{ type: "input_text", text }] } });
    this.send({ type: "response.create" });
  }

  /** Another microphone, or one where there was none, in the middle of the conversation. */
  async use(deviceId) {
    const stream = await this._ask(deviceId);
    if (stream && this._sender && this._context) {
      this._stream?.getTracks().forEach((track) => track.stop());
      this._stream = stream;
      await this._sender.replaceTrack(stream.getAudioTracks()[0]);
      this.mine.listen(stream);
      this.hasMicrophone = true;
      this.problem = null;
      this._gate();
      this._watchMicrophone();
    } else stream?.getTracks().forEach((track) => track.stop());
    this.dispatchEvent(new Event("microphone"));
  }
}

function read(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null; // no JSON: nothing that is meant for this page
  }
}

function gathered(connection) {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", look);
    setTimeout(resolve, GATHERING_MS); // what was found by then has to do
  });
}

function inTime(promise, limitMs) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new ApiError(0, "unreachable", "The server was reached, but no audio gets through: a firewall may keep UDP away.")), limitMs));
  return Promise.race([promise, late]);
}
