// @ts-check
// Paging through what was recorded: a list, the chosen event large beside it, and the keys to go on.

import { get, query } from "../../lib/api.js";
import { h, mark, moment, say, score, verdictClass } from "../../lib/dom.js";
import { verdictText } from "../../lib/figures.js";
import { MARKS } from "../../lib/mark_names.js";
import { Detail } from "./detail.js";
import { Filters } from "./filters.js";

const PAGE = 60;
// The event store has a part a moment later than the feed counts it; on a busy host, the second look finds it.
const STORED_MS = 150;
const LOOK_AGAIN_MS = 400;
const LOOKS = 2;

/**
 * @param {HTMLElement} main
 * @param {Context & {part: {station: string, seq: number} | null}} context `part`: to begin with, if any
 */
export function show(main, { feed, line, part }) {
  const view = new EventsView(line, part);
  main.className = "events-view";
  main.replaceChildren(view.element);
  /** @type {string | null} */
  let known = null;
  let looks = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const look = () => {
    view.lookAgain();
    looks -= 1;
    timer = looks > 0 ? setTimeout(look, LOOK_AGAIN_MS) : undefined;
  };
  const forget = feed.watch((channel, frame) => {
    if (!frame || channel !== "") return;
    const counted = JSON.stringify(Object.values(frame.stations).map((/** @type {StationState} */ state) => [state.defect, state.within_spec, state.uninspected]));
    if (counted === known) return;
    known = counted;
    looks = LOOKS;
    timer ??= setTimeout(look, STORED_MS);
  });
  const press = (event) => view.press(event);
  document.addEventListener("keydown", press);
  view.begin();
  return () => {
    forget();
    clearTimeout(timer);
    document.removeEventListener("keydown", press);
    view.close();
  };
}

class EventsView {
  /** @param {LineAnswer} line @param {{station: string, seq: number} | null} part */
  constructor(line, part) {
    /** @type {EventAnswer[]} */
    this._events = [];
    /** @type {Map<number, HTMLElement>} */
    this._rows = new Map();
    /** @type {number | null} */
    this._chosen = null;
    /** @type {Partial<EventPage>} */
    this._page = {};
    /** @type {{before?: string | null, after?: string | null} | undefined} */
    this._where = undefined;
    this._turn = 0;
    this._filters = new Filters(line, part, () => {
      this._chosen = null;
      this._go({});
    });
    this._list = h("div", { class: "event-list", role: "listbox", "aria-label": "events", tabindex: "0" });
    this._newer = h("button", { type: "button", onclick: () => this._go({ after: this._page.newer }) }, "◀ Newer");
    this._older = h("button", { type: "button", onclick: () => this._go({ before: this._page.older }) }, "Older ▶");
    this._export = h("a", { class: "button", download: "events.zip" }, "Export");
    this._problem = h("p", { class: "problem gone", role: "alert" });
    this._detail = new Detail((answer) => this._replace(answer));
    this.element = h(
      "div",
      { class: "events" },
      h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, ...this._filters.elements, this._export),
      this._problem,
      h("div", { class: "event-columns" }, h("div", { class: "event-pages" }, this._list, h("div", { class: "pager" }, this._newer, this._older)), this._detail.element),
    );
  }

  begin() {
    this._go({});
  }

  close() {
    this._detail.close();
  }

  // New parts may have come: only the first page changes then, and the choice stays.
  lookAgain() {
    if (!this._where?.before && !this._where?.after) this._go({});
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (/** @type {Element} */ (event.target).matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowDown: () => this._step(1),
      j: () => this._step(1),
      ArrowUp: () => this._step(-1),
      k: () => this._step(-1),
      PageDown: () => this._page.older && this._go({ before: this._page.older }),
      PageUp: () => this._page.newer && this._go({ after: this._page.newer }),
      o: () => this._detail.toggle.firstChild.click(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @param {number} by */
  async _step(by) {
    const at = this._events.findIndex((event) => event.event_id === this._chosen);
    const next = at + by;
    if (next >= this._events.length && this._page.older) await this._go({ before: this._page.older }, "first");
    else if (next < 0 && this._page.newer) await this._go({ after: this._page.newer }, "last");
    else if (this._events[next]) this._choose(this._events[next]);
  }

  /**
   * @param {{before?: string | null, after?: string | null}} where
   * @param {"first" | "last" | null} [choose]
   */
  async _go(where, choose = null) {
    const turn = ++this._turn;
    try {
      /** @type {EventPage} */
      const page = await get("events", { ...this._filters.parameters, ...where, limit: PAGE });
      if (turn !== this._turn) return;
      mark(this._problem, "gone", true);
      this._where = where;
      this._page = page;
      this._fill(page.events);
      const first = choose === "last" ? page.events.at(-1) : page.events[0];
      if (first && (choose || this._chosen === null)) this._choose(first);
      if (!page.events.length && this._chosen === null) this._detail.clear();
    } catch (error) {
      say(this._problem, error.message);
      mark(this._problem, "gone", false);
    }
  }

  /** @param {EventAnswer[]} events */
  _fill(events) {
    this._events = events;
    for (const event of events) {
      const row = this._rows.get(event.event_id) ?? this._row(event);
      this._rows.set(event.event_id, row);
    }
    const kept = new Set(events.map((event) => event.event_id));
    for (const id of this._rows.keys()) if (!kept.has(id)) this._rows.delete(id);
    const rows = events.map((event) => this._rows.get(event.event_id));
    if (rows.length !== this._list.children.length || rows.some((row, i) => row !== this._list.children[i])) {
      this._keepPlace(() => this._list.replaceChildren(...(rows.length ? rows : [h("p", { class: "quiet" }, "No events match.")])));
    }
    this._newer.disabled = !this._page.newer;
    this._older.disabled = !this._page.older;
    this._export.href = `api/v1/events.zip${query(this._filters.parameters)}`;
  }

  // A list that was scrolled down stays where it is: new events above do not push away what is being read.
  /** @param {() => void} change */
  _keepPlace(change) {
    const list = this._list;
    const first = list.scrollTop > 0 ? [...list.children].find((row) => row.offsetTop + row.offsetHeight > list.scrollTop) : null;
    const before = first ? first.offsetTop - list.scrollTop : 0;
    change();
    if (first?.isConnected) list.scrollTop = first.offsetTop - before;
  }

  /** @param {EventAnswer} event */
  _row(event) {
    const row = h(
      "div",
      { class: `event ${verdictClass(event.verdict, event.within_spec)}`, role: "option", id: `event-${event.event_id}`, "data-event": event.event_id, "data-seq": event.seq, onclick: () => this._choose(event) },
      h("span", { class: "event-verdict" }, verdictText(event)),
      h("span", {}, `${event.station} #${event.seq}`),
      h("span", { class: "event-score" }, event.score === null ? "" : score(event.score)),
      h("span", { class: "event-time" }, moment(event.captured_s).slice(5, 19)),
      h("span", { class: "event-mark" }, event.mark ? MARKS[event.mark.mark] : ""),
    );
    return row;
  }

  /** @param {EventAnswer} event */
  _replace(event) {
    const at = this._events.findIndex((other) => other.event_id === event.event_id);
    if (at >= 0) this._events[at] = event;
    const old = this._rows.get(event.event_id);
    const row = this._row(event);
    this._rows.set(event.event_id, row);
    old?.replaceWith(row);
    this._choose(event);
  }

  /** @param {EventAnswer} event */
  _choose(event) {
    this._chosen = event.event_id;
    for (const [id, row] of this._rows) {
      row.setAttribute("aria-selected", String(id === this._chosen));
      if (id === this._chosen) row.scrollIntoView({ block: "nearest" });
    }
    this._list.setAttribute("aria-activedescendant", `event-${this._chosen}`);
    this._detail.show(event);
  }
}
