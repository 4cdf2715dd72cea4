// The key; the signs of the page, and the keyboard.

import { button, h, remember } from "./dom.js";

function dialog(title, ...content) {
  const box = h("dialog", { "aria-labelledby": "dialog-title" }, h("h2", { id: "dialog-title" }, title), content);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Ask for the server's key; `done` once it was given or forgotten. */
export function keyDialog(key, done) {
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", placeholder: "sk-…", value: key.get() });
  const box = dialog(
    "Key of this server",
    h(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            key.set(field.value);
            box.close();
            done();
          },
        },
      },
      h("p", { class: "soft" }, "Sent to this server alone, kept in this tab until you close it."),
      h("label", { for: "key" }, "API key"),
      field,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "submit", class: "button main" }, "Use it"),
        key.get() &&
          button("Forget it", {
            class: "plain",
            press: () => {
              key.set("");
              box.close();
              done();
            },
          }),
        button("Cancel", { class: "plain", press: () => box.close() }),
      ),
    ),
  );
  field.focus();
}

const KEYS = [
  ["C", "begin or end the conversation"],
  ["Space", "hold to talk, where push to talk is chosen"],
  ["Esc", "stop the reply"],
  ["M", "mute, and be heard again"],
  ["T", "type"],
  ["1 … 4", "the pages"],
  ["/", "search conversations"],
  ["?", "this list"],
];

const SIGNS = [
  ["over", "your turn was over"],
  ["audible", "the answer began to sound"],
  ["cut", "you cut in"],
  ["coming", "written, not spoken yet"],
  ["unheard", "never heard: the agent knows that"],
];

/** The sign as it stands on the talk page. */
const sign = (kind) => (["coming", "unheard"].includes(kind) ? h("span", { class: "said" }, h(kind === "unheard" ? "s" : "span", { class: kind }, "words")) : h("i", { class: `pin is-${kind}` }));

export function shortcutsDialog() {
  const choice = (name, label) => {
    const input = h("input", { type: "checkbox", on: { change: () => remember.set(name, input.checked ? "on" : "off") } });
    input.checked = remember.get(name, "on") === "on";
    return h("label", { class: "choice" }, input, label);
  };
  const box = dialog(
    "Signs, keys and captions",
    h("dl", { class: "keys signs" }, SIGNS.map(([kind, meaning]) => [h("dt", { "aria-hidden": "true" }, sign(kind)), h("dd", {}, meaning)])),
    h("dl", { class: "keys" }, KEYS.map(([name, deed]) => [h("dt", {}, h("kbd", {}, name)), h("dd", {}, deed)])),
    choice("keys", "Single keys do something (Esc and Space always do)"),
    choice("captions", "Tell captions to screen readers"),
    h("div", { class: "buttons" }, button("Close", { class: "main", press: () => box.close() })),
  );
}
