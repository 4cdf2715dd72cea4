// One connection over WebRTC: the offer, the sound both ways, and the two data channels.
//
// `oai-events` carries OpenAI's Realtime events, `antiphon` those of the pipeline (docs/reference/events.md).

import { ApiError, auth, errorOf } from "./api.js";

const CALLS = "/v1/realtime/calls";
const GATHERING_MS = 1500;
const OFFER_MS = 20_000;
const CONNECTING_MS = 15_000;
const LOST_MS = 6000;
const HANGUP_MS = 2000;

/**
 * Events: `event` and `pipeline` (detail: the event), `sound` (detail: the stream that is heard), `shaky` and `steady`
 * (nothing comes through; it does again), and once, after which there are no others: `down` (detail: an ApiError) where
 * it broke, or `over` where the server ended it.
 */
export class Link extends EventTarget {
  constructor() {
    super();
    this._connection = new RTCPeerConnection();
    this._closing = new AbortController();
    /** Its name there, once it was taken. */
    this.callId = "";
  }

  /**
   * @param {MediaStreamTrack} track what is sent
   * @throws {ApiError} the server does not take the call, or nothing gets through
   */
  async open(track) {
    const connection = this._connection;
    this._sender = connection.addTransceiver(track, { direction: "sendrecv" }).sender;
    this._listen(connection, "track", ({ track: theirs }) => this._tell("sound", new MediaStream([theirs])));
    this._events = this._channel("oai-events", (event) => this._tell("event", event));
    this._pipeline = this._channel("antiphon", (message) => message.type === "event" && message.event && this._tell("pipeline", message.event));
    const opened = Promise.all([this._events, this._pipeline].map((channel) => new Promise((resolve) => this._listen(channel, "open", resolve))));
    this._listen(this._events, "close", () => this._end("over"));
    this._listen(connection, "connectionstatechange", () => this._look());
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const answer = await this._offer(connection.localDescription.sdp);
    if (this.closed) throw broken();
    await connection.setRemoteDescription({ type: "answer", sdp: answer });
    await inTime(opened, CONNECTING_MS);
    if (this.closed) throw broken();
  }

  get closed() {
    return this._closing.signal.aborted;
  }

  /** One of OpenAI's client events. */
  send(event) {
    if (this._events?.readyState === "open") this._events.send(JSON.stringify(event));
  }

  /** Send another track from now on. */
  replace(track) {
    return this._sender?.replaceTrack(track);
  }

  close() {
    clearTimeout(this._losing);
    this._closing.abort();
    this._events?.close();
    this._pipeline?.close();
    this._connection.close();
  }

  // -------------------------------------------------------------------------------------- inside

  _channel(label, take) {
    const channel = this._connection.createDataChannel(label);
    this._listen(channel, "message", ({ data }) => {
      const message = read(data);
      if (message) take(message);
    });
    return channel;
  }

  _listen(target, type, listener) {
    target.addEventListener(type, listener, { signal: this._closing.signal });
  }

  _tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  async _offer(sdp) {
    const signal = AbortSignal.any([this._closing.signal, AbortSignal.timeout(OFFER_MS)]);
    let response;
    try {
      response = await fetch(CALLS, { method: "POST", headers: { "Content-Type": "application/sdp", ...auth() }, body: sdp, credentials: "omit", signal });
    } catch {
      throw new ApiError(0, "offline", "The server cannot be reached.");
    }
    if (!response.ok) throw await errorOf(response);
    this.callId = (response.headers.get("Location") ?? "").split("/").pop();
    return response.text();
  }

  /** A connection that gets nothing through may come back by itself: it is given some seconds. */
  _look() {
    clearTimeout(this._losing);
    const state = this._connection.connectionState;
    const broke = () => this._end("down", broken());
    if (state === "failed") broke();
    else if (state === "disconnected") {
      this._tell("shaky");
      this._losing = setTimeout(broke, LOST_MS);
    } else if (state === "connected") this._tell("steady");
  }

  _end(type, detail) {
    if (this.closed) return;
    this.close();
    this._tell(type, detail);
  }
}

/**
 * Free the place of a call that cannot say goodbye itself: its connection is broken, or its page is left.
 * @returns {Promise<boolean>} whether it is over there
 */
export async function hangUp(callId) {
  try {
    const response = await fetch(`${CALLS}/${encodeURIComponent(callId)}/hangup`, { method: "POST", headers: auth(), credentials: "omit", keepalive: true, signal: AbortSignal.timeout(HANGUP_MS) });
    return response.ok || response.status === 404;
  } catch {
    return false; // not reached: the server finds out by itself
  }
}

const broken = () => new ApiError(0, "lost", "The connection broke.");

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
