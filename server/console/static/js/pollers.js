// What the server is asked now and then: its state, and the questions that wait for somebody. Nothing while nobody looks.

import { json } from "./api.js";
import { nextLookMs } from "./patience.js";

/** Asks again and again. Events: `change`, after `value` or `error` changed. */
class Poller extends EventTarget {
  constructor() {
    super();
    this.value = null;
    this.error = null;
    this._timer = null;
    this._asking = null;
    document.addEventListener("visibilitychange", () => !document.hidden && this.now());
  }

  /** Ask at once. */
  async now() {
    clearTimeout(this._timer);
    this._asking ??= this._ask().finally(() => (this._asking = null));
    await this._asking;
    clearTimeout(this._timer);
    if (!document.hidden) this._timer = setTimeout(() => this.now(), this.everyMs());
  }

  async _ask() {
    try {
      this.value = await this.fetch();
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.dispatchEvent(new Event("change"));
  }
}

/** `/v1/state`. */
export class ServerState extends Poller {
  fetch() {
    return json("/v1/state", { timeoutS: 8 });
  }

  everyMs() {
    if (this.error) return nextLookMs(2500, this.error);
    return this.value?.refused?.code === "loading" ? 2500 : 6000;
  }

  /** Wait until something is known. */
  async known() {
    if (!this.value && !this.error) await this.now();
  }

  /** Whether the key is for this; true while nothing is known. */
  may(scope) {
    return this.value ? this.value.scopes.includes(scope) : true;
  }

  get needsKey() {
    return this.error?.status === 401;
  }

  /** Whether the server has another edition of this page than the one that was loaded. */
  get renewed() {
    this._edition ??= this.value?.console;
    return Boolean(this._edition && this.value && this.value.console !== this._edition);
  }

  /**
   * One word for the whole server: "ready", "degraded", "loading", "full", "draining", "asking"; or why it is not known:
   * "away", "key", "limited", "audit", "trouble" (`error` says which).
   */
  get word() {
    if (this.needsKey) return "key";
    if (this.error?.status === 0) return "away";
    if (this.error?.status === 429) return "limited";
    if (this.error) return this.error.code === "audit" ? "audit" : "trouble";
    if (!this.value) return "asking";
    if (this.value.refused) return this.value.refused.code;
    return this.value.engines.some((one) => one.in_order === false) ? "degraded" : "ready";
  }
}

/** Questions that are open. */
export class OpenQuestions extends Poller {
  constructor(state) {
    super();
    this._state = state;
    this._known = new Set();
    /** Server's clock less ours, in seconds. */
    this.skewS = 0;
  }

  async fetch() {
    if (this._state.error) throw this._state.error; // it would be refused, too, and count against this address
    if (!this._state.value || !this._state.may("approvals") || this._state.value.refused?.code === "loading") return [];
    const { approvals, now_s: nowS } = await json("/v1/approvals", { timeoutS: 8 });
    this.skewS = nowS - Date.now() / 1000;
    const fresh = approvals.filter((one) => !this._known.has(one.id));
    this._known = new Set(approvals.map((one) => one.id));
    for (const one of fresh) this.dispatchEvent(new CustomEvent("asked", { detail: one }));
    return approvals;
  }

  everyMs() {
    return this.error && !this._state.error ? nextLookMs(8000, this.error) : 3000; // while there is no state, nobody is asked
  }

  leftS(approval) {
    return Math.max(0, approval.expires_s - (Date.now() / 1000 + this.skewS));
  }

  /** @throws {ApiError} */
  async decide(id, granted) {
    try {
      return await json(`/v1/approvals/${encodeURIComponent(id)}`, { body: { granted } });
    } finally {
      this.now();
    }
  }
}
