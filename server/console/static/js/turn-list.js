// The turns of the conversation under way, the newest at the end; it follows them unless one reads further up.

import { button, h } from "./dom.js";
import { setScale } from "./fall-view.js";
import { TurnView } from "./turn-view.js";

const NEAR_PX = 90;

export class TurnList {
  constructor() {
    this.element = h("div", { class: "turns", role: "region", "aria-label": "The conversation", tabindex: "-1" });
    this.latest = button("To the latest", { icon: "down", class: "plain small latest", press: () => this.toEnd(true), hidden: true });
    this._views = new Map();
    this._follow = true;
    this._shown = false;
    addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  clear() {
    this._views.clear();
    this.element.replaceChildren();
  }

  /** Whether its page is: nothing is scrolled while another one is. */
  set shown(shown) {
    this._shown = shown;
  }

  /**
   * @param {object} turn that is new, or has changed
   * @param {object[]} turns all of them
   * @param {number|null} waitedMs for how long its answer has been waited for, while it is
   */
  show(turn, turns, waitedMs = null) {
    setScale(this.element, turns, waitedMs ?? 0);
    let view = this._views.get(turn.id);
    if (!view) {
      view = new TurnView(turn, { changed: () => this.scrolled() });
      this._views.set(turn.id, view);
      this.element.append(view.element);
      view.element.classList.add("fresh");
      this._forget(turns);
    }
    view.show(waitedMs);
    this.toEnd();
  }

  /** Of a very long conversation the oldest turns are no longer kept. */
  _forget(turns) {
    if (this._views.size <= turns.length) return;
    const kept = new Set(turns.map(({ id }) => id));
    for (const [id, view] of this._views) {
      if (kept.has(id)) continue;
      view.element.remove();
      this._views.delete(id);
    }
  }

  /** @param {boolean} ask whether the user wants to go there, wherever they are */
  toEnd(ask = false) {
    if (ask) this._follow = true;
    if (!this._follow || !this._shown) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    scrollTo({ top: document.documentElement.scrollHeight, behavior: ask && !calm ? "smooth" : "instant" });
  }

  scrolled() {
    if (!this._shown) return;
    const { scrollHeight, clientHeight, scrollTop } = document.documentElement;
    this._follow = scrollHeight - clientHeight - scrollTop < NEAR_PX;
    this.latest.hidden = this._follow || !this._views.size;
  }
}
