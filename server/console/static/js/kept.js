// What was said, for as long as this tab is open: a reload, or a browser that was short of memory, does not lose it.

const NAME = "antiphon.talk";
const MAX_TURNS = 50;
const MAX_CHARS = 400_000;

/** @param {object[]} turns as in conversation.js */
export function keep(turns) {
  try {
    let text = "";
    for (let many = MAX_TURNS; many; many = Math.floor(many / 2)) {
      text = JSON.stringify(turns.slice(-many));
      if (text.length <= MAX_CHARS) break;
    }
    if (turns.length && text.length <= MAX_CHARS) sessionStorage.setItem(NAME, text);
    else sessionStorage.removeItem(NAME);
  } catch {
    return; // a browser that keeps nothing: a reload begins anew
  }
}

/** @returns {object[]} */
export function kept() {
  try {
    const turns = JSON.parse(sessionStorage.getItem(NAME) ?? "[]");
    return Array.isArray(turns) ? turns.filter((turn) => turn && typeof turn.user === "string" && typeof turn.written === "string") : [];
  } catch {
    return [];
  }
}
