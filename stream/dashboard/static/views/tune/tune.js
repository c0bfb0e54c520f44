// @ts-check
// Tuning one station: its threshold, false alarms accepted into the good, strange good pictures left out, teaching, and
// every change of its bundle.

import { get } from "../../lib/api.js";
import { h, say } from "../../lib/dom.js";
import { Changes } from "./changes.js";
import { Reviewed } from "./marked_parts.js";
import { Strangest } from "./strangest.js";
import { LearnFromMarks } from "./learn.js";
import { Teach } from "./teach.js";
import { Threshold } from "./threshold.js";

const BUSY_MS = 1000;
const IDLE_MS = 5000;

/**
 * @param {HTMLElement} main
 * @param {Context & {station: string, event: number | null}} context `event`: the one that is to be accepted, if any
 */
export function show(main, { line, station, event }) {
  const view = new TuneView(line, station, event);
  main.className = "tune-view";
  main.replaceChildren(view.element);
  view.look();
  return () => view.close();
}

class TuneView {
  /** @param {LineAnswer} line @param {string} station @param {number | null} event */
  constructor(line, station, event) {
    this._station = station;
    this._turn = 0;
    this._closed = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._timer = undefined;
    /** @type {string | undefined} */
    this._states = undefined;
    this._liveSha256 = "";
    const look = () => this.look();
    this._threshold = new Threshold(station, look);
    this._reviewed = new Reviewed(station, event, look);
    this._strangest = new Strangest(station, look);
    this._learn = new LearnFromMarks(station, look);
    this._teach = new Teach(station, look);
    this._changes = new Changes(station, look);
    this._problem = h("p", { class: "problem", role: "alert" });
    this._bundle = h("span", { class: "quiet" });
    const names = line.stations.map(({ name }) => h("option", { value: name, selected: name === station }, name));
    const go = (chosen) => (location.hash = `#/tune/${chosen.target.value}`);
    this.element = h(
      "div",
      { class: "tune" },
      h(
        "div",
        { class: "tune-head" },
        h("label", { for: "tune-station" }, "Station", h("select", { id: "tune-station", onchange: go }, ...names)),
        h("a", { class: "button", href: `#/station/${station}` }, "Newest parts"),
        this._bundle,
        this._problem,
      ),
      h("div", { class: "tune-columns" }, this._threshold.element, this._reviewed.element),
      this._strangest.element,
      this._learn.element,
      this._teach.element,
      this._changes.element,
    );
  }

  close() {
    this._closed = true;
    clearTimeout(this._timer);
    this._threshold.close();
    this._strangest.close();
  }

  // Asks for everything that may have changed, and again after a while.
  async look() {
    clearTimeout(this._timer);
    const turn = ++this._turn;
    let busy = false;
    try {
      const [jobs, changes] = await Promise.all([get("jobs"), get(`stations/${this._station}/changes`)]);
      if (this._closed || turn !== this._turn) return;
      const states = JSON.stringify([jobs.map(({ id, state }) => [id, state]), changes.map(({ id, state }) => [id, state])]);
      const tuning = states === this._states ? null : await get(`stations/${this._station}/tuning`);
      if (this._closed || turn !== this._turn) return;
      busy = this._show(jobs, changes, tuning);
      this._states = states;
      say(this._problem, "");
    } catch (error) {
      if (turn === this._turn) say(this._problem, error.message);
    }
    if (!this._closed && turn === this._turn) this._timer = setTimeout(() => this.look(), busy ? BUSY_MS : IDLE_MS);
  }

  /** @param {Job[]} jobs @param {Change[]} changes @param {Tuning | null} tuning */
  _show(jobs, changes, tuning) {
    if (tuning !== null) {
      this._liveSha256 = tuning.bundle_sha256;
      say(this._bundle, `bundle ${tuning.bundle_sha256.slice(0, 12)}`);
      this._threshold.show(tuning);
      this._reviewed.show(tuning);
      this._strangest.show(tuning);
      this._learn.show(tuning);
      this._teach.show(tuning);
    }
    this._changes.show(changes, this._liveSha256);
    this._reviewed.jobs(jobs);
    this._strangest.jobs(jobs);
    this._learn.jobs(jobs);
    this._teach.jobs(jobs);
    return jobs.some((job) => job.state === "running");
  }
}
