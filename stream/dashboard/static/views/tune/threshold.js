// @ts-check
// The threshold: what good and reviewed parts scored, what another threshold would cost, and moving it there.

import uPlot from "../../vendor/uPlot.js";
import { may, post } from "../../lib/api.js";
import { AXIS, BARS, COLOURS, chartBox, drawLine, histogram, sizeOf } from "../../lib/charts.js";
import { ask, facts } from "../../lib/dialog.js";
import { count, h, mark, number, say, score } from "../../lib/dom.js";
import { drawMarks } from "./marks.js";
import { VerdictChanges } from "./verdict_changes.js";

const BINS = 50;
// Steps of an axis that counts.
const WHOLE = [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4].map((power) => step * 10 ** power)).sort((a, b) => a - b);
/** @param {number} value */
const daily = (value) => (value >= 1000 ? count(Math.round(value)) : number(value, value >= 100 ? 0 : value >= 10 ? 1 : 2));
/** @param {number} value */
const percent = (value) => `${number(100 * value, 2)} %`;
// Name, field of the curve, how it reads, and what is better: less (-1) or more (1).
/** @type {[string, "false_rejects_per_day" | "misses_per_day" | "false_reject_share" | "false_alarms_passing" | "true_defects_passing", (value: number) => string, number][]} */
const MEASURES = [
  ["False rejects a day, at most", "false_rejects_per_day", daily, -1],
  ["More misses a day than now", "misses_per_day", daily, -1],
  ["Share of good parts rejected, at most", "false_reject_share", percent, -1],
  ["Reviewed false alarms that would pass", "false_alarms_passing", String, 1],
  ["Reviewed defects that would pass", "true_defects_passing", String, -1],
];
/** @type {Record<string, string>} */
const COUNTED = { false_alarms_passing: "false_alarm", true_defects_passing: "true_defect" };

export class Threshold {
  /** @param {string} station @param {() => Promise<void>} look asks the API again */
  constructor(station, look) {
    this._station = station;
    this._look = look;
    /** @type {any} the API's `Tuning`, with what this view adds */
    this._tuning = null;
    /** @type {any} */
    this._chart = null;
    /** @type {[number, number]} */
    this._range = [0, 1];
    /** @type {number | undefined} */
    this._chosen = undefined;
    /** @type {ResizeObserver | undefined} */
    this._observer = undefined;
    this._busy = false;
    this._box = chartBox();
    this._slider = h("input", { type: "range", id: "tune-slider", min: "0", max: "0", step: "1", disabled: true, oninput: () => this._move() });
    this._value = h("output", { for: "tune-slider", class: "slider-value" }, "–");
    /** @type {any[][]} field of the curve, then the cells of its row */
    this._rows = MEASURES.map(([name, field]) => [field, h("th", { scope: "row" }, name), ...[0, 0, 0].map(() => h("td", {}, "–"))]);
    this._present = h("th", { scope: "col" }, "Present");
    this._there = h("th", { scope: "col", class: "now" }, "At the slider");
    this._assumes = h("p", { class: "small" });
    this._back = h("button", { type: "button", disabled: true, onclick: () => this._reset() }, "Back to the present");
    this._apply = h("button", { type: "button", class: "strong", disabled: true, onclick: () => this._change() }, "Apply…");
    this._status = h("p", { class: "status", role: "status" });
    this._by = h("span", { class: "quiet" });
    this._verdicts = new VerdictChanges(station);
    this.element = h(
      "section",
      { class: "panel threshold", "aria-labelledby": "tune-threshold" },
      h("div", { class: "panel-head" }, h("h2", { id: "tune-threshold" }, "Threshold"), this._by),
      legend(),
      this._box,
      h("label", { class: "slider", for: "tune-slider" }, h("span", {}, "Threshold to look at"), this._value, this._slider),
      h(
        "div",
        { class: "wide-table" },
        h(
          "table",
          { class: "measures" },
          h("thead", {}, h("tr", {}, h("td"), this._present, this._there, h("th", { scope: "col" }, "Change"))),
          h("tbody", {}, ...this._rows.map(([, ...cells]) => h("tr", {}, ...cells))),
        ),
      ),
      h("div", { class: "row" }, this._back, may("engineer") ? this._apply : null),
      this._status,
      this._verdicts.element,
      this._assumes,
    );
  }

  close() {
    this._observer?.disconnect();
    this._verdicts.close();
    this._chart?.destroy();
  }

  show(tuning) {
    const before = this._tuning;
    this._tuning = tuning;
    const last = tuning.curve.threshold.length - 1;
    const same = before?.bundle_sha256 === tuning.bundle_sha256;
    this._slider.max = last;
    this._slider.disabled = this._back.disabled = this._busy || last < 0;
    this._slider.value = same ? nearest(tuning.curve.threshold, this._chosen) : tuning.at;
    if (!same && !this._busy) say(this._status, "");
    const share = tuning.curve.false_reject_share[tuning.at];
    const most = share === undefined ? "" : `at most ${percent(share)} of good parts rejected; `;
    say(this._by, most + (tuning.by_hand ? "set by hand" : `${percent(tuning.false_reject_rate)} wanted`));
    say(this._present, `Present ${score(tuning.threshold)}`);
    say(this._assumes, tuning.assumes);
    this._draw();
    this._move();
  }

  _draw() {
    const { calibration, reviewed, threshold, curve } = this._tuning;
    const all = [threshold, ...calibration, ...curve.threshold, ...reviewed.map((part) => part.score).filter((value) => value !== null)];
    const [least, most] = [Math.min(...all), Math.max(...all)];
    const margin = (most - least || 1) * 0.03;
    this._range = [least < 0 ? least - margin : Math.max(0, least - margin), most + margin];
    this._chart ??= this._makeChart();
    this._chart.setData(histogram(calibration, ...this._range, BINS));
  }

  _makeChart() {
    const bars = { paths: uPlot.paths.bars(BARS), points: { show: false } };
    const series = [{}, { label: "calibration", stroke: COLOURS.good, fill: `${COLOURS.good}88`, ...bars }];
    // The upper third belongs to the marks of the reviewed parts.
    const scales = { x: { time: false, range: () => this._range }, y: { range: (_, low, high) => [0, (high || 1) * 1.5] } };
    const draw = (chart) => {
      drawLine(chart, this._chosen, COLOURS.action);
      drawLine(chart, this._tuning.threshold, COLOURS.defect, [8, 6]);
      drawMarks(chart, this._tuning.reviewed);
    };
    const axes = [AXIS, { ...AXIS, size: 56, incrs: WHOLE }];
    const plain = { cursor: { show: false }, legend: { show: false } };
    const chart = new uPlot({ ...sizeOf(this._box), series, scales, axes, hooks: { draw: [draw] }, ...plain }, [[], []], this._box);
    this._observer = new ResizeObserver(() => chart.setSize(sizeOf(this._box)));
    this._observer.observe(this._box);
    return chart;
  }

  get _at() {
    return Number(this._slider.value);
  }

  _reset() {
    this._slider.value = this._tuning.at;
    this._move();
  }

  // Shows what the threshold under the slider would do.
  _move() {
    const { curve, at, counted } = this._tuning;
    this._chosen = curve.threshold[this._at];
    const text = this._chosen === undefined ? "–" : score(this._chosen);
    say(this._value, text);
    say(this._there, `At the slider ${text}`);
    this._slider.setAttribute("aria-valuetext", text);
    this._apply.disabled = this._busy || this._chosen === undefined || this._at === at;
    MEASURES.forEach(([, field, read, better], i) => {
      const [, , now, then, change] = this._rows[i];
      const [a, b] = [curve[field][at] ?? null, curve[field][this._at] ?? null];
      const of = field in COUNTED ? ` of ${counted[COUNTED[field]]}` : "";
      say(now, a === null ? "–" : read(a) + of);
      say(then, b === null ? "–" : read(b) + of);
      const by = a === null || b === null ? 0 : b - a;
      say(change, by === 0 ? "" : `${by > 0 ? "+" : "−"}${read(Math.abs(by))}`);
      mark(change, "better", by * better > 0);
      mark(change, "worse", by * better < 0);
    });
    this._verdicts.show(this._chosen === undefined || this._at === at ? null : this._chosen, this._tuning.bundle_sha256);
    this._chart.redraw();
  }

  async _change() {
    const [to, from] = [this._chosen, this._tuning.threshold];
    /** @type {[string, string][]} */
    const expected = this._rows.map(([, name, now, then]) => [name.textContent, `${now.textContent} → ${then.textContent}`]);
    const body = [facts([["Station", this._station], ["Threshold", `${score(from)} → ${score(to)}`], ...expected])];
    const answer = await ask(this.element, { title: "Move the threshold?", body, confirm: "Put live", note: true });
    if (answer === null) return;
    this._report("putting live…", true);
    let offered = false;
    try {
      const change = await post(`stations/${this._station}/threshold`, { threshold: to, note: answer.note });
      offered = true;
      await post(`changes/${change.id}/live`);
      await this._look();
      this._report(`The threshold is ${score(to)} now.`);
    } catch (error) {
      this._look();
      this._report(offered ? `It is offered below, but not live: ${error.message}` : error.message, false, true);
    }
  }

  _report(text, busy = false, wrong = false) {
    this._busy = busy;
    say(this._status, text);
    mark(this._status, "problem", wrong);
    this._slider.disabled = this._back.disabled = busy;
    this._move();
    if (document.activeElement === document.body) this._slider.focus();
  }
}

function nearest(values, wanted) {
  return values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
}

function legend() {
  const entry = (name, text) => h("li", { class: `key-${name}` }, text);
  return h(
    "ul",
    { class: "legend" },
    entry("good", "calibration"),
    entry("alarm", "false alarms"),
    entry("defect", "true defects"),
    entry("present", "present threshold"),
    entry("there", "slider"),
  );
}
