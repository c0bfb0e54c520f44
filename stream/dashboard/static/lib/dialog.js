// @ts-check
// A question before something changes: it holds the focus, closes with Escape, and gives the focus back.

import { h } from "./dom.js";

/**
 * @param {Element} parent
 * @param {{title: string, body: (Node | string | null)[], confirm: string, note?: boolean}} question `note`: whether a
 *   note may be added
 * @returns {Promise<{note: string} | null>} null: it was cancelled
 */
export function ask(parent, { title, body, confirm, note = false }) {
  return new Promise((resolve) => {
    const input = h("input", { id: "ask-note", maxlength: "1000", autofocus: note });
    const cancel = h("button", { type: "button", autofocus: !note, onclick: () => dialog.close() }, "Cancel");
    const submit = (event) => {
      event.preventDefault();
      dialog.close("yes");
    };
    const closed = () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? { note: input.value } : null);
    };
    const dialog = h(
      "dialog",
      { class: "ask", "aria-labelledby": "ask-title", onclose: closed },
      h(
        "form",
        { onsubmit: submit },
        h("h1", { id: "ask-title" }, title),
        ...body,
        note ? h("label", { for: "ask-note" }, "Note (optional)", input) : null,
        h("div", { class: "answers" }, cancel, h("button", { type: "submit", class: "strong" }, confirm)),
      ),
    );
    parent.append(dialog);
    dialog.showModal();
  });
}

// Pairs of a name and what changes there, as a list.
/** @param {[string, string][]} pairs */
export function facts(pairs) {
  return h("dl", { class: "ask-facts" }, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
