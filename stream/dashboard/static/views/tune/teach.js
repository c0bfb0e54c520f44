// @ts-check
// Learning a new bundle from the parts that pass the running camera.

import { may } from "../../lib/api.js";
import { ask, facts } from "../../lib/dialog.js";
import { h, mark } from "../../lib/dom.js";
import { JobProgress, beginJob } from "./jobs.js";

export class Teach {
  /** @param {string} station @param {() => void} look asks the API again */
  constructor(station, look) {
    this._station = station;
    this._look = look;
    this._busy = this._occupied = false;
    this._runs = false;
    this._parts = h("input", { id: "teach-parts", type: "number", min: "2", max: "20000", step: "1", value: "200", required: true });
    this._rate = h("input", { id: "teach-rate", type: "number", min: "0.01", max: "50", step: "any", value: "1", required: true });
    this._note = h("input", { id: "teach-note", maxlength: "1000" });
    this._teach = h("button", { type: "submit", class: "strong", disabled: true }, "Teach…");
    this._why = h("p", { class: "quiet gone" }, "The line does not run on this host: start it to teach from its camera.");
    this._problem = h("p", { class: "problem", role: "alert" });
    this._job = new JobProgress("teach", look);
    const submit = (event) => {
      event.preventDefault();
      this._ask();
    };
    const form = h(
      "form",
      { class: "row", onsubmit: submit },
      h("label", { class: "field", for: "teach-parts" }, "Parts", this._parts),
      h("label", { class: "field", for: "teach-rate" }, "Good parts rejected, wanted, in %", this._rate),
      h("label", { class: "field wide", for: "teach-note" }, "Note", this._note),
      this._teach,
    );
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "tune-teach" },
      h("h2", { id: "tune-teach" }, "Teach again"),
      may("engineer") ? form : h("p", { class: "quiet" }, "Engineers can have the station learn its good parts again."),
      this._why,
      this._problem,
      this._job.element,
    );
  }

  /** @param {Tuning} tuning */
  show({ running }) {
    this._runs = running;
    mark(this._why, "gone", running);
    this._enable();
  }

  /** @param {Job[]} jobs */
  jobs(jobs) {
    this._occupied = this._job.show(jobs, this._station);
    this._enable();
  }

  _enable() {
    this._teach.disabled = !this._runs || this._busy || this._occupied;
  }

  async _ask() {
    const [parts, rate] = [Number(this._parts.value), Number(this._rate.value)];
    const body = [
      h("p", {}, "Let only good parts pass until it is done: whatever passes is learned as good. The line goes on meanwhile and judges as before."),
      facts([["Station", this._station], ["Parts", String(parts)], ["Good parts rejected, wanted", `${rate} %`]]),
    ];
    if ((await ask(this.element, { title: "Teach the station again?", body, confirm: "Teach" })) === null) return;
    this._busy = true;
    this._enable();
    await beginJob(`stations/${this._station}/teach`, { parts, false_reject_rate: rate / 100 }, this._note, this._problem);
    await this._look();
    this._busy = false;
    this._enable();
  }
}
