// @ts-check
// The station's reviewed parts; false alarms among them can be accepted into the good.

import { may } from "../../lib/api.js";
import { fill, h, mark, moment, say, score } from "../../lib/dom.js";
import { verdictText } from "../../lib/figures.js";
import { MARKS } from "../../lib/mark_names.js";
import { JobProgress, beginJob } from "./jobs.js";


/** @param {ReviewedPart} part */
const acceptable = (part) => part.mark === "false_alarm" && part.picture && !part.accepted;

export class Reviewed {
  // `only`: the id of the one event that is ticked at first; null: all that can be accepted.
  /** @param {string} station @param {number | null} only @param {() => void} look asks the API again */
  constructor(station, only, look) {
    this._station = station;
    this._only = only;
    this._wanted = only;
    this._look = look;
    this._rows = new Map();
    this._busy = this._running = false;
    this._list = h("ul", { class: "reviewed" });
    this._none = h("p", { class: "quiet gone" }, "No event of this station is marked yet. Mark them in ", h("a", { href: "#/events" }, "Events"), ".");
    this._all = h("input", { type: "checkbox", id: "tune-all", onchange: () => this._tickAll() });
    this._note = h("input", { id: "tune-accept-note", maxlength: "1000" });
    this._accept = h("button", { type: "button", class: "strong", disabled: true, onclick: () => this._begin() }, "Accept 0 parts into good");
    this._problem = h("p", { class: "problem", role: "alert" });
    this._job = new JobProgress("accept", look);
    const controls = [
      h("label", { class: "toggle", for: "tune-all" }, this._all, "All false alarms"),
      h("label", { class: "field wide", for: "tune-accept-note" }, "Note", this._note),
      this._accept,
    ];
    this._controls = h("div", { class: "row" }, ...controls);
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "tune-reviewed" },
      h("h2", { id: "tune-reviewed" }, "Reviewed parts"),
      this._none,
      this._list,
      may("engineer") ? this._controls : null,
      this._problem,
      this._job.element,
    );
  }

  /** @param {Tuning} tuning */
  show({ reviewed }) {
    for (const part of reviewed) {
      const known = this._rows.get(part.event_id);
      const text = JSON.stringify(part);
      if (known?.text !== text) this._rows.set(part.event_id, this._row(part, text, known));
    }
    // What can be accepted stands first: it is what the button below speaks of.
    const sorted = [...reviewed.filter(acceptable), ...reviewed.filter((part) => !acceptable(part))];
    const rows = sorted.map((part) => this._rows.get(part.event_id).element);
    fill(this._list, rows);
    mark(this._none, "gone", rows.length);
    mark(this._list, "gone", !rows.length);
    mark(this._controls, "gone", !rows.length);
    if (this._wanted !== null) this._goTo(this._wanted);
    this._count();
  }

  /** @param {Job[]} jobs */
  jobs(jobs) {
    this._running = this._job.show(jobs, this._station);
    this._count();
  }

  _row(part, text, known) {
    const ticked = known?.box?.checked ?? (this._only === null || this._only === part.event_id);
    const id = `tune-event-${part.event_id}`;
    const tick = { type: "checkbox", id, checked: ticked, value: String(part.event_id), onchange: () => this._count() };
    const box = acceptable(part) && may("engineer") ? h("input", tick) : null;
    const missing = h("span", { class: "no-picture quiet" }, "no picture");
    const picture = h("img", { alt: "", loading: "lazy", width: 96, height: 72, onerror: () => picture.replaceWith(missing) });
    picture.src = `api/v1/events/${part.event_id}/preview.jpg`;
    const state = part.accepted ? "accepted" : part.mark === "false_alarm" && !part.picture ? "no picture kept to learn from" : "";
    const joined = (...texts) => texts.filter(Boolean).join(" · ");
    const element = h(
      "li",
      { "data-event": part.event_id },
      h(
        box ? "label" : "div",
        { class: "reviewed-part", for: box ? id : null },
        h("span", { class: "tick" }, box),
        picture,
        h(
          "span",
          { class: "about" },
          h("b", { class: `mark-${part.mark}` }, MARKS[part.mark]),
          state ? h("i", { class: part.accepted ? "better" : "quiet" }, state) : null,
          h("span", {}, joined(`#${part.seq}`, part.part_id, `score ${score(part.score)}`, part.verdict ? verdictText({ ...part, cause: null }) : "")),
          h("span", { class: "quiet" }, joined(part.note, part.who, moment(part.captured_s).slice(0, 19))),
        ),
      ),
      h("a", { href: `#/event/${this._station}/${part.seq}`, "aria-label": `event ${part.seq}` }, "Event"),
    );
    return { element, text, box };
  }

  // The event that somebody came here for, once.
  _goTo(event) {
    const row = this._rows.get(event);
    this._wanted = null;
    row?.element.scrollIntoView({ block: "nearest" });
    row?.box?.focus();
    const why = row ? "it is accepted, or has no picture to learn from" : "it is not marked, or no longer kept";
    if (!row?.box && may("engineer")) say(this._problem, `The event cannot be accepted: ${why}.`);
  }

  get _boxes() {
    return [...this._rows.values()].map((row) => row.box).filter((box) => box?.isConnected);
  }

  _tickAll() {
    for (const box of this._boxes) box.checked = this._all.checked;
    this._count();
  }

  _count() {
    const boxes = this._boxes;
    const many = boxes.filter((box) => box.checked).length;
    this._all.checked = many > 0 && many === boxes.length;
    this._all.indeterminate = many > 0 && many < boxes.length;
    this._all.disabled = boxes.length === 0;
    say(this._accept, `Accept ${many} part${many === 1 ? "" : "s"} into good`);
    this._accept.disabled = many === 0 || this._busy || this._running;
  }

  async _begin() {
    const event_ids = this._boxes.filter((box) => box.checked).map((box) => Number(box.value));
    this._busy = true;
    this._count();
    await beginJob(`stations/${this._station}/accept`, { event_ids }, this._note, this._problem);
    await this._look();
    this._busy = false;
    this._count();
  }
}
