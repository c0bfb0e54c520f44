// @ts-check
// Alarms: the active ones, who acknowledged them, and the history.

import { get, may, post } from "../lib/api.js";
import { h, mark, moment, say } from "../lib/dom.js";

const SHOWN = 3;

// The strip on top of every view.
export class AlarmStrip {
  /** @param {HTMLElement} element */
  constructor(element) {
    this._element = element;
    this._shown = "";
  }

  /** @param {ActiveAlarm[]} alarms */
  show(alarms) {
    const text = JSON.stringify(alarms);
    if (text === this._shown) return;
    this._shown = text;
    const first = [...alarms].sort((a, b) => Number(Boolean(a.acknowledged_by)) - Number(Boolean(b.acknowledged_by))).slice(0, SHOWN);
    const more = alarms.length - first.length;
    this._element.replaceChildren(
      ...first.map((alarm) =>
        h(
          "a",
          { class: `alarm${alarm.acknowledged_by ? " seen" : ""}`, href: "#/alarms", "data-kind": alarm.kind, title: alarm.text },
          h("b", {}, `${alarm.kind.replaceAll("_", " ")} · ${alarm.subject}`),
          ` ${alarm.text}`,
          alarm.acknowledged_by ? ` · acknowledged by ${alarm.acknowledged_by}` : "",
        ),
      ),
      more > 0 ? h("a", { class: "alarm more", href: "#/alarms" }, `and ${more} more`) : "",
    );
  }
}

/** @param {HTMLElement} main @param {Context} context */
export function show(main, { feed }) {
  const active = h("div", { class: "alarm-list", id: "active" });
  const history = h("tbody");
  const older = h("button", { type: "button", onclick: () => more() }, "Older ▶");
  const problem = h("p", { class: "problem", role: "alert" });
  /** @type {number | null} */
  let next = null;
  const none = h("p", { class: "quiet gone" }, "None yet. The line has raised no alarm.");
  const names = ["Raised", "Alarm", "Subject", "Text", "Acknowledged by"].map((name) => h("th", { scope: "col" }, name));
  const table = h("div", { class: "wide-table gone" }, h("table", { class: "history" }, h("thead", {}, h("tr", {}, ...names)), history));
  main.className = "alarms-view";
  main.replaceChildren(
    h("h2", {}, "Active"),
    problem,
    active,
    h("h2", {}, "History"),
    none,
    table,
    older,
  );

  const attempt = async (action) => {
    try {
      await action();
      say(problem, "");
    } catch (error) {
      say(problem, error.message);
    }
  };
  const more = () =>
    attempt(async () => {
      /** @type {AlarmPage} */
      const page = await get("alarms", { before_id: next });
      next = page.older;
      history.append(...page.alarms.map(row));
      older.disabled = next === null;
    });
  const refresh = () =>
    attempt(async () => {
      const alarms = await get("alarms/active");
      active.replaceChildren(...(alarms.length ? alarms.map(card) : [h("p", { class: "quiet" }, "None. The line raises no alarm.")]));
      next = null;
      /** @type {AlarmPage} */
      const page = await get("alarms");
      next = page.older;
      history.replaceChildren(...page.alarms.map(row));
      for (const element of [table, older]) mark(element, "gone", !page.alarms.length);
      mark(none, "gone", page.alarms.length > 0);
      older.disabled = next === null;
    });
  /** @param {AlarmAnswer} alarm */
  const card = (alarm) => {
    const seen = alarm.acknowledged_by;
    const button = h("button", { type: "button", onclick: () => attempt(async () => {
      await post("alarms/acknowledge", { kind: alarm.kind, subject: alarm.subject, raised_ns: alarm.raised_ns });
      await refresh();
    }) }, "Acknowledge");
    return h(
      "div",
      { class: `alarm-card${seen ? " seen" : ""}`, "data-kind": alarm.kind },
      h("div", { class: "alarm-text" }, h("b", {}, `${alarm.kind.replaceAll("_", " ")} · ${alarm.subject}`), ` ${alarm.text}`),
      h("span", { class: "quiet" }, moment(alarm.raised_s).slice(0, 19)),
      seen ? h("span", {}, `acknowledged by ${seen}`) : may("operator") ? button : h("span", { class: "quiet" }, "not acknowledged"),
    );
  };
  /** @param {AlarmAnswer} alarm */
  const row = (alarm) =>
    h(
      "tr",
      {},
      h("td", {}, moment(alarm.raised_s).slice(0, 19)),
      h("td", {}, alarm.kind.replaceAll("_", " ")),
      h("td", {}, alarm.subject),
      h("td", {}, alarm.text),
      h("td", {}, alarm.acknowledged_by ?? "–"),
    );

  /** @type {string | null} */
  let known = null;
  const forget = feed.watch((channel, frame) => {
    if (channel !== "" || !frame) return;
    const names = JSON.stringify(frame.alarms.map((alarm) => [alarm.kind, alarm.subject, alarm.raised_ns]));
    if (names === known) return;
    known = names;
    // The event store has an alarm a moment later than the feed.
    setTimeout(refresh, 150);
  });
  refresh();
  return forget;
}
