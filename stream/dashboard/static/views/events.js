// Paging through what was recorded: a list, the chosen event large beside it, and the keys to go on.

import { get, getBytes, may, post, query } from "../lib/api.js";
import { h, mark, moment, number, say, score, verdictClass } from "../lib/dom.js";
import { halves } from "../lib/feed.js";
import { overlayToggle } from "./line.js";
import { Picture, decoded, overlay } from "../lib/picture.js";

const PAGE = 60;
// The event store has a part a moment later than the feed counts it; on a busy host, the second look finds it.
const STORED_MS = 150;
const LOOK_AGAIN_MS = 400;
const LOOKS = 2;
const REJECTS = { verdict: ["DEFECT", "UNINSPECTED"] };
// A free-running camera passes frames over by design, hundreds a minute: nobody looks for them.
const USUAL = { ...REJECTS, skipped: false };
const LONG = new Set(["Detail", "Stages ms", "Bundle"]);
const MARKS = { false_alarm: "False alarm", true_defect: "True defect" };

// `part`: {station, seq} to begin with that one, else null.
export function show(main, { feed, line, part }) {
  const view = new EventsView(line, part);
  main.className = "events-view";
  main.replaceChildren(view.element);
  let [known, looks, timer] = [null, 0, null];
  const look = () => {
    view.lookAgain();
    looks -= 1;
    timer = looks > 0 ? setTimeout(look, LOOK_AGAIN_MS) : null;
  };
  const forget = feed.watch((channel, frame) => {
    if (!frame || channel !== "") return;
    const counted = JSON.stringify(Object.values(frame.stations).map((state) => [state.defect, state.uninspected]));
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
  constructor(line, part) {
    this._events = [];
    this._rows = new Map();
    this._chosen = null;
    this._page = {};
    this._filters = this._makeFilters(line, part);
    this._list = h("div", { class: "event-list", role: "listbox", "aria-label": "events", tabindex: "0" });
    this._newer = h("button", { type: "button", onclick: () => this._go({ after: this._page.newer }) }, "◀ Newer");
    this._older = h("button", { type: "button", onclick: () => this._go({ before: this._page.older }) }, "Older ▶");
    this._export = h("a", { class: "button", download: "events.zip" }, "Export");
    this._problem = h("p", { class: "problem gone", role: "alert" });
    this._detail = new Detail((answer) => this._replace(answer));
    this.element = h(
      "div",
      { class: "events" },
      h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, ...this._filterElements(), this._export),
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

  press(event) {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
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

  async _step(by) {
    const at = this._events.findIndex((event) => event.event_id === this._chosen);
    const next = at + by;
    if (next >= this._events.length && this._page.older) await this._go({ before: this._page.older }, "first");
    else if (next < 0 && this._page.newer) await this._go({ after: this._page.newer }, "last");
    else if (this._events[next]) this._choose(this._events[next]);
  }

  async _go(where, choose = null) {
    const turn = (this._turn = (this._turn ?? 0) + 1);
    try {
      const page = await get("events", { ...this._asked(), ...where, limit: PAGE });
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
    this._export.href = `/api/v1/events.zip${query(this._asked())}`;
  }

  // Whoever has scrolled down reads on: new events above do not push away what he looks at.
  _keepPlace(change) {
    const list = this._list;
    const first = list.scrollTop > 0 ? [...list.children].find((row) => row.offsetTop + row.offsetHeight > list.scrollTop) : null;
    const before = first ? first.offsetTop - list.scrollTop : 0;
    change();
    if (first?.isConnected) list.scrollTop = first.offsetTop - before;
  }

  _row(event) {
    const row = h(
      "div",
      { class: `event ${verdictClass(event.verdict)}`, role: "option", id: `event-${event.event_id}`, "data-event": event.event_id, "data-seq": event.seq, onclick: () => this._choose(event) },
      h("span", { class: "event-verdict" }, event.cause ?? event.verdict),
      h("span", {}, `${event.station} #${event.seq}`),
      h("span", { class: "event-score" }, event.score === null ? "" : score(event.score)),
      h("span", { class: "event-time" }, moment(event.captured_s).slice(5, 19)),
      h("span", { class: "event-mark" }, event.mark ? MARKS[event.mark.mark] : ""),
    );
    return row;
  }

  _replace(event) {
    const at = this._events.findIndex((each) => each.event_id === event.event_id);
    if (at >= 0) this._events[at] = event;
    const old = this._rows.get(event.event_id);
    const row = this._row(event);
    this._rows.set(event.event_id, row);
    old?.replaceWith(row);
    this._choose(event);
  }

  _choose(event) {
    this._chosen = event.event_id;
    for (const [id, row] of this._rows) {
      row.setAttribute("aria-selected", String(id === this._chosen));
      if (id === this._chosen) row.scrollIntoView({ block: "nearest" });
    }
    this._list.setAttribute("aria-activedescendant", `event-${this._chosen}`);
    this._detail.show(event);
  }

  _asked() {
    const seconds = (input) => (input.value ? new Date(input.value).getTime() / 1000 : "");
    const { station, what, seq, id, since, until } = this._filters;
    const asked = { station: station.value, seq: seq.value, part_id: id.value.trim(), since_s: seconds(since), until_s: seconds(until) };
    const chosen = new URLSearchParams(what.value);
    for (const name of chosen.keys()) asked[name] = chosen.getAll(name);
    return asked;
  }

  _makeFilters(line, part) {
    const change = () => {
      this._chosen = null;
      this._go({});
    };
    const option = (parameters, text, selected = false) => h("option", { value: query(parameters), selected }, text);
    const stations = line.stations.map(({ name }) => h("option", { value: name, selected: part?.station === name }, name));
    const verdicts = line.verdicts.map((verdict) => option({ verdict }, verdict));
    const causes = line.causes.map((cause) => option({ cause }, `– ${cause}`));
    const usual = [option(USUAL, "all but GOOD, skipped", !part), option(REJECTS, "all but GOOD")];
    return {
      station: h("select", { id: "f-station", onchange: change }, h("option", { value: "" }, "all"), ...stations),
      what: h("select", { id: "f-what", onchange: change }, option({}, "all"), ...usual, ...verdicts, ...causes),
      seq: h("input", { id: "f-seq", type: "number", min: "0", step: "1", value: part?.seq.toString(), onchange: change }),
      id: h("input", { id: "f-id", type: "search", maxlength: "1000", placeholder: "whole id", onchange: change }),
      since: h("input", { id: "f-since", type: "datetime-local", onchange: change }),
      until: h("input", { id: "f-until", type: "datetime-local", onchange: change }),
    };
  }

  _filterElements() {
    const { station, what, seq, id, since, until } = this._filters;
    const named = { Station: station, Verdict: what, Part: seq, "Part id": id, From: since, To: until };
    const labels = Object.entries(named).map(([text, input]) => h("label", { for: input.id }, text, input));
    return [...labels.slice(0, -2), h("div", { class: "period" }, ...labels.slice(-2))];
  }
}

class Detail {
  constructor(changed) {
    this._changed = changed;
    this._picture = new Picture("picture of the event");
    this._verdict = h("span", { class: "verdict" }, "–");
    this._title = h("span", { class: "station-name" });
    this._seq = h("span", { class: "seq" });
    this._facts = h("dl", { class: "facts" });
    this._links = h("div", { class: "links" });
    this._marks = h("div", { class: "marks" });
    this.toggle = overlayToggle(() => this._picture.draw());
    this.element = h(
      "article",
      { class: "station large event-detail" },
      h("div", { class: "station-head" }, this._title, this._seq, this._verdict),
      this._picture.element,
      h("div", { class: "detail-row" }, this.toggle, this._links, h("span", { class: "quiet keys" }, "↑ ↓ part · PgUp PgDn page · O heat map")),
      this._marks,
      this._facts,
    );
  }

  close() {
    this._picture.close();
  }

  clear() {
    this._picture.show(null);
    this._facts.replaceChildren();
  }

  async show(event) {
    const again = this._event?.event_id === event.event_id;
    this._event = event;
    this.element.className = `station large event-detail ${verdictClass(event.verdict)}`;
    this.element.dataset.seq = event.seq;
    say(this._verdict, event.cause ?? event.verdict);
    say(this._title, event.station);
    say(this._seq, `#${event.seq}`);
    this._fillFacts(event);
    this._fillMarks(event);
    if (again) return;
    if (event.verdict === "GOOD") {
      this._picture.show({ image: null }); // the store keeps none of them
      this._links.replaceChildren();
      return;
    }
    const [image, map] = await Promise.all([this._image(event), event.score === null ? null : this._map(event)]);
    if (this._event !== event) return;
    this._picture.show({ image, map, pixel_threshold: event.pixel_threshold });
    const links = image ? [["Picture", "preview.jpg"], ["With heat map", "overlay.jpg"]] : [];
    this._links.replaceChildren(
      ...links.map(([text, file]) => h("a", { href: `/api/v1/events/${event.event_id}/${file}`, target: "_blank" }, text)),
    );
  }

  async _image(event) {
    return getBytes(`events/${event.event_id}/preview.jpg`).then(async (answer) => decoded(await answer.blob()), () => null);
  }

  async _map(event) {
    const answer = await getBytes(`events/${event.event_id}/map`).catch(() => null);
    if (answer === null) return null;
    const grid = answer.headers.get("x-grid").split("x").map(Number);
    return { grid, values: halves(await answer.arrayBuffer()) };
  }

  _fillFacts(event) {
    const stages = Object.entries(event.stages).map(([stage, ms]) => `${stage} ${number(ms)}`).join(" · ");
    const facts = {
      Time: moment(event.captured_s),
      Score: event.score === null ? "" : `${score(event.score)} / ${score(event.threshold)}`,
      "Part id": event.part_id,
      Decision: event.decision,
      "Total ms": number(event.total_ms),
      Worker: event.worker,
      Detail: event.detail,
      "Stages ms": stages,
      Bundle: event.bundle_sha256,
    };
    const pairs = Object.entries(facts).filter(([, value]) => value);
    const long = (name) => (LONG.has(name) ? { class: "long" } : {});
    this._facts.replaceChildren(...pairs.flatMap(([name, value]) => [h("dt", long(name), name), h("dd", long(name), value)]));
  }

  _fillMarks(event) {
    const said = event.mark ? `${MARKS[event.mark.mark]} · ${event.mark.who} · ${moment(event.mark.at_s).slice(0, 19)}` : "";
    const note = h("input", { class: "note", placeholder: "note", "aria-label": "note", value: event.mark?.note ?? "", maxlength: "1000" });
    const buttons = Object.entries(MARKS).map(([mark, text]) =>
      h("button", { type: "button", "aria-pressed": String(event.mark?.mark === mark), onclick: () => this._mark(event, mark, note.value) }, text),
    );
    if (may("engineer") && event.verdict === "DEFECT" && event.mark?.mark === "false_alarm")
      buttons.push(h("a", { class: "button", href: `#/tune/${event.station}/${event.event_id}` }, "Accept into good…"));
    const elements = may("operator") ? [...buttons, note] : event.mark?.note ? [h("span", {}, event.mark.note)] : [];
    this._marks.replaceChildren(...elements, h("span", { class: "quiet" }, said));
  }

  async _mark(event, mark, note) {
    try {
      this._changed(await post(`events/${event.event_id}/mark`, { mark, note }));
    } catch (error) {
      this._marks.append(h("span", { class: "problem", role: "alert" }, error.message));
    }
  }
}
