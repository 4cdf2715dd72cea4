"""The page's script: sorting and filtering of turns, notes under the pointer, light and dark.

The page is whole without it. It reads the page alone: no data is written into it.
"""

from __future__ import annotations

SCRIPT = r"""
"use strict";
(() => {
  const $ = (selector, from) => (from || document).querySelector(selector);
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  all(".js").forEach((part) => { part.hidden = false; });

  const theme = $("#theme");
  if (theme) {
    const dark = () => {
      const set = document.documentElement.dataset.theme;
      return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    };
    const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
    theme.addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      name();
    });
    name();
  }

  const field = (id) => $("#f-" + id);
  const runs = all("details.run");
  if (field("order")) {
    const number = (body, key) => {
      const value = body.dataset[key];
      return value === undefined ? null : Number(value);
    };
    const order = (key) => (a, b) => {
      if (key === "clip") {
        const names = [a, b].map((body) => $("th", body).textContent);
        return names[0].localeCompare(names[1]) || number(a, "i") - number(b, "i");
      }
      const sign = key[0] === "-" ? -1 : 1;
      const [x, y] = [a, b].map((body) => number(body, key.replace("-", "")));
      if (x === null || y === null) return (x === null) - (y === null) || number(a, "i") - number(b, "i");
      return sign * (x - y) || number(a, "i") - number(b, "i");
    };
    const texts = new Map();
    const has = (body, words) => {
      if (!words) return true;
      if (!texts.has(body)) texts.set(body, body.textContent.toLowerCase());
      return texts.get(body).includes(words);
    };
    const apply = (changed) => {
      const config = field("config").value;
      const outcome = field("outcome").value;
      const words = field("find").value.trim().toLowerCase();
      let shown = 0;
      let total = 0;
      runs.forEach((run) => {
        run.hidden = config !== "" && run.dataset.config !== config;
        const table = $("table", run);
        const bodies = all("tbody", table);
        if (changed === "order") bodies.sort(order(field("order").value)).forEach((body) => table.append(body));
        let here = 0;
        bodies.forEach((body) => {
          const is = body.dataset.o;
          const wrong = is !== "answered" && is !== "quiet";
          const fits = outcome === "" || (outcome === "!answered" ? wrong : is === outcome);
          body.hidden = !(fits && has(body, words));
          here += body.hidden ? 0 : 1;
        });
        total += bodies.length;
        if (!run.hidden) shown += here;
        const asked = config !== "" || outcome !== "" || words !== "";
        if (changed !== "start" && changed !== "order") run.open = here > 0 && (asked || run === runs[0]);
      });
      field("count").textContent = shown + " of " + total + " turns";
    };
    ["config", "outcome", "order"].forEach((id) => field(id).addEventListener("change", () => apply(id)));
    field("find").addEventListener("input", () => apply("find"));
    apply("start");
  }

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const DRAWN = "svg *, svg";
  let of = null;
  const hide = () => {
    if (of && of.text !== null) {
      const put = document.createElementNS("http://www.w3.org/2000/svg", "title");
      put.textContent = of.text;
      of.owner.prepend(put);
    }
    of = null;
    tip.hidden = true;
  };
  document.addEventListener("pointerover", (event) => {
    let owner = event.target instanceof Element ? event.target.closest(DRAWN) : null;
    while (owner && !$(":scope > title", owner)) owner = owner.parentElement && owner.parentElement.closest(DRAWN);
    if (of && owner === of.owner) return;
    if (of && event.target instanceof Element && of.owner.contains(event.target)) return;
    hide();
    if (!owner) return;
    const held = $(":scope > title", owner);
    of = { owner, text: held.textContent };
    held.remove();
    tip.textContent = of.text;
    tip.hidden = false;
  });
  document.addEventListener("pointermove", (event) => {
    if (!of) return;
    const left = Math.min(event.pageX + 14, scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = event.clientY + tip.offsetHeight + 24 > innerHeight;
    const top = event.pageY + (above ? -tip.offsetHeight - 10 : 16);
    tip.style.transform = "translate(" + Math.max(left, 4) + "px," + top + "px)";
  });
  document.addEventListener("pointerleave", hide);

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details").filter((part) => !part.open && !part.closest("table.falls"));
    closed.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
})();
"""
