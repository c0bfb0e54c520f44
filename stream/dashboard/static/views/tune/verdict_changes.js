// @ts-check
// The kept parts whose verdict the threshold under the slider would change, as thumbnails.

import { get } from "../../lib/api.js";
import { h, mark, say, score } from "../../lib/dom.js";

// The slider moves on while somebody drags it.
const PAUSE_MS = 250;

export class VerdictChanges {
  /** @param {string} station */
  constructor(station) {
    this._station = station;
    this._turn = 0;
    /** @type {string} */
    this._shown = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._timer = undefined;
    this._toGood = row();
    this._toDefect = row();
    this._problem = h("p", { class: "problem", role: "alert" });
    this.element = h("div", { class: "verdict-changes gone" }, this._toGood.element, this._toDefect.element, this._problem);
  }

  close() {
    clearTimeout(this._timer);
    this._turn += 1;
  }

  // `threshold`: null where it is the present one.
  /** @param {number | null} threshold @param {string} bundle hash of the live bundle */
  show(threshold, bundle) {
    const wanted = `${threshold} ${bundle}`;
    if (wanted === this._shown) return;
    this._shown = wanted;
    clearTimeout(this._timer);
    mark(this.element, "gone", threshold === null);
    if (threshold !== null) this._timer = setTimeout(() => this._look(threshold), PAUSE_MS);
  }

  /** @param {number} threshold */
  async _look(threshold) {
    const turn = ++this._turn;
    try {
      /** @type {VerdictChangesAnswer} */
      const found = await get(`stations/${this._station}/verdict-changes`, { threshold });
      if (turn !== this._turn) return;
      say(this._problem, "");
      fillRow(this._toGood, `${found.to_good_count} parts called DEFECT in the last seven days would pass`, found.to_good);
      fillRow(this._toDefect, `${found.to_defect_count} of the GOOD parts kept would be rejected; there may be more`, found.to_defect);
    } catch (error) {
      if (turn === this._turn) say(this._problem, error.message);
    }
  }
}

function row() {
  const title = h("p", { class: "small" });
  const list = h("div", { class: "part-strip" });
  return { title, list, element: h("div", {}, title, list) };
}

/** @param {ReturnType<typeof row>} target @param {string} text @param {EventAnswer[]} events */
function fillRow(target, text, events) {
  say(target.title, text);
  target.list.replaceChildren(...events.map(thumbnail));
}

/** @param {EventAnswer} event */
function thumbnail(event) {
  const text = `#${event.seq} · ${score(event.score)}`;
  const image = h("img", { alt: "", loading: "lazy", src: `api/v1/events/${event.event_id}/preview.jpg`, width: 96, height: 72 });
  return h("a", { href: `#/event/${event.station}/${event.seq}`, "aria-label": `event ${text}`, "data-event": event.event_id }, image, h("span", {}, text));
}
