// @ts-check
// The filters above the list of events, and what they ask the API for.

import { query } from "../../lib/api.js";
import { h } from "../../lib/dom.js";

const REJECTS = { verdict: ["DEFECT", "UNINSPECTED"] };
// A free-running camera skips frames by design, hundreds a minute: they are left out unless asked for.
const USUAL = { ...REJECTS, skipped: false };
// GOOD parts kept with their images: the latest hour first, in it the highest score.
const NEAR_MISSES = { near_misses: true };
// GOOD parts that only rules let pass.
const WITHIN_SPEC = { within_spec: true };

export class Filters {
  /**
   * @param {LineAnswer} line
   * @param {{station: string, seq: number} | null} part to begin with, if any
   * @param {() => void} change called when a filter has changed
   */
  constructor(line, part, change) {
    const option = (parameters, text, selected = false) => h("option", { value: query(parameters), selected }, text);
    const stations = line.stations.map(({ name }) => h("option", { value: name, selected: part?.station === name }, name));
    const verdicts = line.verdicts.map((verdict) => option({ verdict }, verdict));
    const causes = line.causes.map((cause) => option({ cause }, `– ${cause}`));
    const usual = [option(USUAL, "all but GOOD, skipped", !part), option(REJECTS, "all but GOOD")];
    this._station = h("select", { id: "f-station", onchange: change }, h("option", { value: "" }, "all"), ...stations);
    this._what = h("select", { id: "f-what", onchange: change }, option({}, "all"), ...usual, option(NEAR_MISSES, "near misses"), option(WITHIN_SPEC, "within spec"), ...verdicts, ...causes);
    this._seq = h("input", { id: "f-seq", type: "number", min: "0", step: "1", value: part?.seq.toString(), onchange: change });
    this._id = h("input", { id: "f-id", type: "search", maxlength: "1000", placeholder: "whole id", onchange: change });
    this._since = h("input", { id: "f-since", type: "datetime-local", onchange: change });
    this._until = h("input", { id: "f-until", type: "datetime-local", onchange: change });
  }

  get elements() {
    const named = { Station: this._station, Verdict: this._what, Part: this._seq, "Part id": this._id, From: this._since, To: this._until };
    const labels = Object.entries(named).map(([text, input]) => h("label", { for: input.id }, text, input));
    return [...labels.slice(0, -2), h("div", { class: "period" }, ...labels.slice(-2))];
  }

  // The parameters of `GET /events`.
  get parameters() {
    const seconds = (input) => (input.value ? new Date(input.value).getTime() / 1000 : "");
    /** @type {Record<string, any>} */
    const parameters = {
      station: this._station.value,
      seq: this._seq.value,
      part_id: this._id.value.trim(),
      since_s: seconds(this._since),
      until_s: seconds(this._until),
    };
    const what = new URLSearchParams(this._what.value);
    for (const input of [this._seq, this._id]) input.disabled = what.has("near_misses");
    if (what.has("near_misses")) parameters.seq = parameters.part_id = "";
    for (const name of what.keys()) parameters[name] = what.getAll(name);
    return parameters;
  }
}
