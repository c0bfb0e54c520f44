// @ts-check
// Learning from marks: what marked defects have in common, added to the image score.

import { may } from "../../lib/api.js";
import { h, mark, say } from "../../lib/dom.js";
import { JobProgress, beginJob } from "./jobs.js";

export class LearnFromMarks {
  /** @param {string} station @param {() => void} look asks the API again */
  constructor(station, look) {
    this._station = station;
    this._look = look;
    this._busy = this._occupied = false;
    this._enough = false;
    this._known = h("p", {});
    this._head = h("p", { class: "quiet" });
    this._note = h("input", { id: "learn-note", maxlength: "1000" });
    this._begin = h("button", { type: "submit", class: "strong", disabled: true }, "Learn from marks");
    this._problem = h("p", { class: "problem", role: "alert" });
    this._job = new JobProgress("marks", look);
    const submit = (event) => {
      event.preventDefault();
      this._start();
    };
    const form = h("form", { class: "row", onsubmit: submit }, h("label", { class: "field wide", for: "learn-note" }, "Note", this._note), this._begin);
    const missed = h("a", { href: "#/events" }, "near misses");
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "tune-learn" },
      h("h2", { id: "tune-learn" }, "Learn from marks"),
      this._known,
      this._head,
      h("p", { class: "small" }, "Defects among GOOD parts are found in Events under ", missed, "."),
      may("engineer") ? form : null,
      this._problem,
      this._job.element,
    );
  }

  /** @param {Tuning} tuning */
  show({ learnable }) {
    const { defects, false_alarms, needed, learned_defects } = learnable;
    this._enough = defects >= needed;
    const more = this._enough ? "" : ` ${needed - defects} more defects are needed.`;
    say(this._known, `${defects} marked defects and ${false_alarms} false alarms with a picture.${more}`);
    say(this._head, learned_defects === null ? "" : `The live bundle has learned from ${learned_defects} marked defects.`);
    mark(this._head, "gone", learned_defects === null);
    this._enable();
  }

  /** @param {Job[]} jobs */
  jobs(jobs) {
    this._occupied = this._job.show(jobs, this._station);
    this._enable();
  }

  _enable() {
    this._begin.disabled = !this._enough || this._busy || this._occupied;
  }

  async _start() {
    this._busy = true;
    this._enable();
    await beginJob(`stations/${this._station}/learn-from-marks`, {}, this._note, this._problem);
    await this._look();
    this._busy = false;
    this._enable();
  }
}
