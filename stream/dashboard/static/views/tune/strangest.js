// @ts-check
// The good pictures that scored highest in the calibration: what is not good among them is left out.

import uPlot from "../../vendor/uPlot.js";
import { get, may } from "../../lib/api.js";
import { AXIS, BARS, COLOURS, chartBox, drawLine, histogram, sizeOf } from "../../lib/charts.js";
import { fill, h, say, score } from "../../lib/dom.js";
import { JobProgress, beginJob } from "./jobs.js";

const BINS = 60;

export class Strangest {
  /** @param {string} station @param {() => void} look asks the API again */
  constructor(station, look) {
    this._station = station;
    this._look = look;
    /** @type {Tuning | null} */
    this._tuning = null;
    /** @type {StrangestAnswer | null} */
    this._strangest = null;
    /** @type {Map<string, any>} checkboxes by name, of engineers */
    this._boxes = new Map();
    this._busy = this._occupied = this._loading = false;
    /** @type {[number, number]} */
    this._range = [0, 1];
    /** @type {any} */
    this._chart = null;
    /** @type {ResizeObserver | undefined} */
    this._observer = undefined;
    this._box = chartBox();
    this._list = h("ul", { class: "strange-list" });
    this._note = h("input", { id: "tune-leave-out-note", maxlength: "1000" });
    this._leave = h("button", { type: "button", class: "strong", disabled: true, onclick: () => this._begin() }, "Leave out and calibrate again");
    this._problem = h("p", { class: "problem", role: "alert" });
    this._failure = h("p", { class: "problem", role: "alert" });
    this._job = new JobProgress("leave_out", look);
    const controls = h("div", { class: "row" }, h("label", { class: "field wide", for: "tune-leave-out-note" }, "Note", this._note), this._leave);
    this.element = h(
      "section",
      { class: "panel strangest", "aria-labelledby": "tune-strangest" },
      h("h2", { id: "tune-strangest" }, "Strange good pictures"),
      h("p", { class: "small" }, "The good pictures with the highest scores, each by a bank without it. One that is not good raises the threshold for all parts: leave it out."),
      legend(),
      this._box,
      this._failure,
      this._list,
      may("engineer") ? controls : null,
      this._problem,
      this._job.element,
    );
  }

  close() {
    this._observer?.disconnect();
    this._chart?.destroy();
  }

  /** @param {Tuning} tuning */
  show(tuning) {
    this._tuning = tuning;
    this._draw();
    this._load();
  }

  /** @param {Job[]} jobs */
  jobs(jobs) {
    this._occupied = this._job.show(jobs, this._station);
    this._enable();
    this._load();
  }

  // Asks for the pictures of the live bundle, unless they are shown; after an error again when the view looks again.
  async _load() {
    if (this._loading || this._tuning === null || this._strangest?.bundle_sha256 === this._tuning.bundle_sha256) return;
    this._loading = true;
    try {
      /** @type {StrangestAnswer} */
      const strangest = await get(`stations/${this._station}/strangest`);
      this._strangest = strangest;
      this._fill(strangest);
      say(this._failure, "");
    } catch (error) {
      say(this._failure, error.message);
    }
    this._loading = false;
  }

  /** @param {StrangestAnswer} strangest */
  _fill({ bundle_sha256, pictures }) {
    this._boxes.clear();
    fill(this._list, pictures.map((picture) => this._card(picture, bundle_sha256)));
    this._enable();
    this._draw();
  }

  /** @param {StrangePictureAnswer} picture @param {string} bundle */
  _card({ rank, name, score: value, threshold_without: without }, bundle) {
    const id = `tune-strange-${rank}`;
    const box = may("engineer") ? h("input", { type: "checkbox", id, value: name, onchange: () => this._enable() }) : null;
    if (box) this._boxes.set(name, box);
    const image = h("img", { alt: "", loading: "lazy", src: `api/v1/stations/${this._station}/strangest/${bundle}/${rank}.jpg` });
    return h(
      "li",
      {},
      h(
        box ? "label" : "div",
        { class: "strange-picture", for: box ? id : null },
        image,
        h("span", { class: "strange-name" }, box ? h("span", { class: "tick" }, box) : null, h("b", {}, `${rank}. ${name}`)),
        h("span", {}, `score ${score(value)}`),
        h("span", { class: "quiet" }, `threshold without it ${score(without)}`),
      ),
    );
  }

  /** @returns {string[]} */
  get _chosen() {
    return [...this._boxes].filter(([, box]) => box.checked).map(([name]) => name);
  }

  _enable() {
    const many = this._chosen.length;
    say(this._leave, many ? `Leave out ${many} picture${many === 1 ? "" : "s"} and calibrate again` : "Leave out and calibrate again");
    this._leave.disabled = many === 0 || this._busy || this._occupied;
    this._chart?.redraw();
  }

  async _begin() {
    this._busy = true;
    this._enable();
    await beginJob(`stations/${this._station}/leave-out`, { names: this._chosen }, this._note, this._problem);
    await this._look();
    this._busy = false;
    this._enable();
  }

  _draw() {
    if (this._tuning === null) return;
    const { calibration, threshold } = this._tuning;
    const [least, most] = [Math.min(threshold, ...calibration), Math.max(threshold, ...calibration)];
    const margin = (most - least || 1) * 0.03;
    this._range = [least - margin, most + margin];
    this._chart ??= this._makeChart();
    this._chart.setData(histogram(calibration, ...this._range, BINS));
  }

  _makeChart() {
    const bars = { paths: uPlot.paths.bars(BARS), points: { show: false } };
    const series = [{}, { label: "calibration", stroke: COLOURS.good, fill: `${COLOURS.good}88`, ...bars }];
    const scales = { x: { time: false, range: () => this._range }, y: { range: (_, low, high) => [0, (high || 1) * 1.1] } };
    const draw = (chart) => {
      drawLine(chart, this._tuning?.threshold, COLOURS.defect, [8, 6]);
      const chosen = new Set(this._chosen);
      for (const picture of this._strangest?.pictures ?? []) if (chosen.has(picture.name)) drawLine(chart, picture.score, COLOURS.alarm);
    };
    const plain = { cursor: { show: false }, legend: { show: false } };
    const axes = [AXIS, { ...AXIS, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] }];
    const chart = new uPlot({ ...sizeOf(this._box), series, scales, axes, hooks: { draw: [draw] }, ...plain }, [[], []], this._box);
    this._observer = new ResizeObserver(() => chart.setSize(sizeOf(this._box)));
    this._observer.observe(this._box);
    return chart;
  }
}

function legend() {
  const entry = (name, text) => h("li", { class: `key-${name}` }, text);
  return h("ul", { class: "legend" }, entry("good", "good pictures"), entry("present", "present threshold"), entry("chosen", "to be left out"));
}
