// The approvals page: what waits for a yes, and what was decided.

import { json } from "./api.js";
import { approvalCard } from "./approval-card.js";
import { clock, day, fill, h, icon } from "./dom.js";

export class ApprovalsPage {
  constructor(app) {
    this.title = "Approvals";
    this._app = app;
    this._busy = new Set();
    this._past = null;
    this._open = h("div", { class: "cards" });
    this._before = h("div", { class: "cards" });
    this._beforePart = h("section", {}, h("h2", {}, "Decided before"), this._before);
    this.element = h("div", { class: "page" }, h("header", { class: "top" }, h("h1", {}, "Approvals"), h("p", { class: "soft" }, "Tools and answers that somebody has to say yes to before they happen. The first decision counts.")), this._open, this._beforePart);
    app.questions.addEventListener("change", () => this._show());
    app.state.addEventListener("change", () => this._show());
    setInterval(() => !this.element.hidden && this._show(), 1000);
  }

  async shown() {
    this._show();
    this._app.questions.now();
    await this._load();
  }

  async _load() {
    if (!this._app.state.may("approvals")) return;
    try {
      const { approvals } = await json("/v1/approvals?which=all");
      this._past = approvals.filter((one) => one.state !== "pending").toReversed();
    } catch {
      this._past = null; // the banner of the page says what is wrong
    }
    this._show();
  }

  async _decide(id, granted) {
    this._busy.add(id);
    this._show();
    await this._app.decide(id, granted);
    this._busy.delete(id);
    await this._load();
  }

  _show() {
    const { questions, state } = this._app;
    if (!state.may("approvals")) {
      fill(this._open, blank("key", "This key is not for approvals", "Ask for one with the scope “approvals”."));
      this._beforePart.hidden = true;
      return;
    }
    const open = questions.value ?? [];
    const cards = open.map((one) => approvalCard({ ...one, leftS: questions.leftS(one) }, { decide: (id, granted) => this._decide(id, granted), busy: this._busy.has(one.id), about: about(one) }));
    fill(this._open, cards.length ? cards : questions.error ? blank("warn", "The questions cannot be read", questions.error.message) : blank("shield", "Nothing waits for a yes", "A question appears here as soon as a tool or a check asks one. You may leave this page open: the tab shows a number."));
    this._beforePart.hidden = !this._past?.length;
    if (this._past) fill(this._before, this._past.slice(0, 40).map((one) => approvalCard({ ...one, by: one.decided_by }, { about: about(one) })));
  }
}

function about(one) {
  const at = new Date((one.decided_s ?? one.asked_s) * 1000).toISOString();
  return h("p", { class: "soft small" }, `${day(at)}, ${clock(at)} · `, h("a", { href: `#/conversations/${encodeURIComponent(one.session)}` }, one.session), one.note && ` · ${one.note}`);
}

export const blank = (sign, title, text, ...more) => h("div", { class: "blank" }, icon(sign), h("h2", {}, title), h("p", {}, text), more);
