// Elements without markup in strings: the page's policy forbids it.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Properties: `class`, `style` (an object), `data` (an object), `on` (event to listener); true and false set
 * and leave out an attribute; others are attributes.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  const element = document.createElementNS(SVG, "svg");
  element.setAttribute("class", "icon");
  element.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  element.append(use);
  return element;
}

export function button(label, { icon: name, class: kind = "", hint, press, ...more } = {}) {
  const bare = kind.includes("bare");
  return h(
    "button",
    { type: "button", class: `button ${kind}`, "aria-label": bare ? label : undefined, title: hint ?? (bare ? label : undefined), on: press && { click: press }, ...more },
    name && icon(name),
    !bare && h("span", {}, label),
  );
}

/** Replace what is in an element, and leave the focus where it was if what had it is there again. */
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.keep : undefined;
  element.replaceChildren(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  if (focused) element.querySelector(`[data-keep="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

const live = () => document.getElementById("live");
const alertBox = () => document.getElementById("alert");

/** Have a screen reader say it when it has time; `now`: at once. */
export function announce(text, { now = false } = {}) {
  if (!text) return;
  const box = now ? alertBox() : live();
  box.append(h("p", {}, text));
  while (box.children.length > 20) box.firstChild.remove();
}

/** A message of the server as a sentence: with a capital, and an end. */
export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

/** A message that goes away by itself, bad news later than good. */
export function toast(text, { bad = false } = {}) {
  const box = document.getElementById("toasts");
  const gone = () => note.remove();
  const note = h("div", { class: bad ? "toast bad" : "toast" }, h("p", {}, text), button("Close", { icon: "cross", class: "bare small", press: gone }));
  for (const same of [...box.children].filter((one) => one.textContent === note.textContent)) same.remove();
  box.append(note);
  while (box.children.length > 4) box.firstChild.remove();
  announce(text, { now: bad });
  setTimeout(gone, bad ? 20_000 : 6000);
}

/** Take all messages away: something new begins. */
export const clearToasts = () => document.getElementById("toasts").replaceChildren();

export const remember = {
  get(name, otherwise = null) {
    try {
      return localStorage.getItem(`antiphon.${name}`) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`antiphon.${name}`, value);
    } catch {
      return; // a browser that keeps nothing: the choice holds until the page is left
    }
  },
};

// ------------------------------------------------------------------------------------------ numbers and times

export const ms = (value) => (value == null ? "–" : value < 995 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(2)} s`);

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exactFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const day = (iso) => dayFormat.format(new Date(iso));
export const clock = (iso) => timeFormat.format(new Date(iso));
export const exactClock = (iso) => exactFormat.format(new Date(iso));

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** JSON as a person reads it: names and values where it is that simple; text that is none, as it is. */
export function pretty(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return h("pre", {}, text);
  }
  if (typeof value !== "object" || value === null) return h("pre", {}, String(value));
  const pairs = Array.isArray(value) ? [] : Object.entries(value);
  if (!pairs.length || pairs.length > 8 || pairs.some(([, one]) => typeof one === "object" && one !== null)) return h("pre", {}, JSON.stringify(value, null, 2));
  return h("dl", { class: "pairs" }, pairs.map(([name, one]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(one)))));
}
