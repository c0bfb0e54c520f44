// @ts-check
// One event, large: its picture with heat map, its numbers, and the marks of operators.

import { get, getBytes, may, post } from "../../lib/api.js";
import { h, moment, number, say, score, verdictClass } from "../../lib/dom.js";
import { halves } from "../../lib/feed.js";
import { placementText, spotText, verdictText } from "../../lib/figures.js";
import { MARKS, marksOf } from "../../lib/mark_names.js";
import { Picture, decoded, overlayToggle } from "../../lib/picture.js";

const LONG = new Set(["Placement", "Strongest spot", "Spots", "Kept", "Detail", "Stages ms", "Bundle"]);
const KEPT_AS = { near_miss: "near miss: among the highest scores of its hour", sample: "one of the sample of good parts" };

// Every spot that was judged, with the rule that lets it pass; the one that decided is bold.
/** @param {EventAnswer} event */
function spotList({ spot, spots }) {
  const items = spots.map((one, i) => h("li", {}, h(i + 1 === spot ? "b" : "span", {}, `${spotText(one)}: ${one.rule ?? "no rule lets it pass"}`)));
  return h("ol", { class: "spots" }, ...items);
}

export class Detail {
  /** @param {(event: EventAnswer) => void} changed called with an event that was marked */
  constructor(changed) {
    this._changed = changed;
    /** @type {EventAnswer | undefined} */
    this._event = undefined;
    /** @type {SpotAnswer | null} */
    this._spot = null;
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

  /** @param {EventAnswer} event */
  async show(event) {
    const again = this._event?.event_id === event.event_id;
    this._event = event;
    if (!again) this._spot = null;
    this.element.className = `station large event-detail ${verdictClass(event.verdict, event.within_spec)}`;
    this.element.dataset.seq = event.seq;
    say(this._verdict, verdictText(event));
    say(this._title, event.station);
    say(this._seq, `#${event.seq}`);
    this._fillFacts(event);
    this._fillMarks(event);
    if (again) return;
    if (event.verdict === "GOOD" && !event.kept_as && !event.within_spec) {
      this._picture.show({ image: null }); // of GOOD parts the store has images of those kept, and of those that rules let pass
      this._links.replaceChildren();
      return;
    }
    const scored = event.score !== null;
    const [image, map, spot] = await Promise.all([this._image(event), scored ? this._map(event) : null, scored ? this._strongest(event) : null]);
    if (this._event?.event_id !== event.event_id) return;
    this._picture.show({ image, map, verdict: event.verdict, within_spec: event.within_spec, pixel_threshold: event.pixel_threshold, station: event.station, bundle_sha256: event.bundle_sha256 });
    this._spot = spot;
    this._fillFacts(this._event);
    const links = image ? [["Picture", "preview.jpg"], ["With heat map", "overlay.jpg"]] : [];
    this._links.replaceChildren(
      ...links.map(([text, file]) => h("a", { href: `api/v1/events/${event.event_id}/${file}`, target: "_blank" }, text)),
    );
  }

  /** @param {EventAnswer} event */
  async _image(event) {
    return getBytes(`events/${event.event_id}/preview.jpg`).then(async (answer) => decoded(await answer.blob()), () => null);
  }

  /** @param {EventAnswer} event @returns {Promise<PatchMap | null>} */
  async _map(event) {
    const answer = await getBytes(`events/${event.event_id}/map`).catch(() => null);
    if (answer === null) return null;
    const grid = (answer.headers.get("x-grid") ?? "0x0").split("x").map(Number);
    return { grid, values: halves(await answer.arrayBuffer()) };
  }

  /** @param {EventAnswer} event @returns {Promise<SpotAnswer | null>} */
  async _strongest(event) {
    return event.verdict === "DEFECT" || event.within_spec ? get(`events/${event.event_id}/spot`).catch(() => null) : null;
  }

  /** @param {EventAnswer} event */
  _fillFacts(event) {
    const stages = Object.entries(event.stages).map(([stage, ms]) => `${stage} ${number(ms)}`).join(" · ");
    const facts = {
      Time: moment(event.captured_s),
      Score: event.score === null ? "" : `${score(event.score)} / ${score(event.threshold)}`,
      "Part id": event.part_id,
      Decision: event.decision,
      "Total ms": number(event.total_ms),
      Worker: event.worker,
      Placement: placementText(event.placement),
      Rule: event.rule,
      "Strongest spot": event.spots.length ? "" : spotText(this._spot),
      Spots: event.spots.length ? spotList(event) : "",
      Kept: event.kept_as && KEPT_AS[event.kept_as],
      Detail: event.detail,
      "Stages ms": stages,
      Bundle: event.bundle_sha256,
    };
    const pairs = Object.entries(facts).filter(([, value]) => value);
    const long = (name) => (LONG.has(name) ? { class: "long" } : {});
    this._facts.replaceChildren(...pairs.flatMap(([name, value]) => [h("dt", long(name), name), h("dd", long(name), value)]));
  }

  /** @param {EventAnswer} event */
  _fillMarks(event) {
    const marked = event.mark ? `${MARKS[event.mark.mark]} · ${event.mark.who} · ${moment(event.mark.at_s).slice(0, 19)}` : "";
    const note = h("input", { class: "note", placeholder: "note", "aria-label": "note", value: event.mark?.note ?? "", maxlength: "1000" });
    const buttons = marksOf(event).map((mark) =>
      h("button", { type: "button", "aria-pressed": String(event.mark?.mark === mark), onclick: () => this._mark(event, mark, note.value) }, MARKS[mark]),
    );
    if (may("engineer") && event.verdict === "DEFECT" && event.mark?.mark === "false_alarm")
      buttons.push(h("a", { class: "button", href: `#/tune/${event.station}/${event.event_id}` }, "Accept into good…"));
    const elements = may("operator") ? [...buttons, note] : event.mark?.note ? [h("span", {}, event.mark.note)] : [];
    this._marks.replaceChildren(...elements, h("span", { class: "quiet" }, marked));
  }

  /** @param {EventAnswer} event @param {string} mark @param {string} note */
  async _mark(event, mark, note) {
    try {
      this._changed(await post(`events/${event.event_id}/mark`, { mark, note }));
    } catch (error) {
      this._marks.append(h("span", { class: "problem", role: "alert" }, error.message));
    }
  }
}
