// @ts-check
// One station: its newest part, large, and how its scores and times have been.

import uPlot from "../vendor/uPlot.js";
import { get } from "../lib/api.js";
import { AXIS, BARS, COLOURS, chartBox, drawLine, histogram, sizeOf } from "../lib/charts.js";
import { clock, h, number, say, verdictClass } from "../lib/dom.js";
import { Drift, Ledger, Numbers, ScoreBar, placementText, spotText, verdictText } from "../lib/figures.js";
import { Picture, overlayToggle } from "../lib/picture.js";

const BINS = 40;
const STAGES = ["capture", "align", "encode", "wire_in", "queue", "preprocess", "backbone", "search", "score", "wire_out", "decide"];

/** @param {HTMLElement} main @param {Context & {station: string}} context */
export function show(main, { feed, station }) {
  const picture = new Picture(`newest part of ${station}`);
  const verdict = h("span", { class: "verdict" }, "–");
  const seq = h("span", { class: "seq" });
  const spot = h("p", { class: "spot" });
  const placed = h("p", { class: "spot placed" });
  const bar = new ScoreBar();
  const numbers = new Numbers(["parts/s", "p50 ms", "p99 ms"]);
  const ledger = new Ledger();
  const drift = new Drift();
  const [strip, histogram] = [chartBox(), chartBox()];
  const stages = new Stages();
  const article = h(
    "article",
    { class: "station large", "data-station": station },
    h("div", { class: "station-head" }, h("span", { class: "station-name", title: station }, station), seq, verdict),
    picture.element,
    spot,
    placed,
    bar.element,
    h("div", { class: "number-row" }, numbers.element, ledger.element),
    h("div", { class: "station-foot" }, drift.element, ledger.causes),
    h("div", { class: "detail-row" }, overlayToggle(() => picture.draw()), h("a", { class: "button", href: `#/tune/${station}` }, "Tune")),
  );
  main.className = "station-view";
  main.replaceChildren(
    article,
    h(
      "div",
      { class: "charts" },
      h("h2", {}, h("span", { class: "now" }, "Score"), " and ", h("span", { class: "limit" }, "threshold")),
      strip,
      h("h2", {}, h("span", { class: "now" }, "Scores now"), " and ", h("span", { class: "then" }, "in calibration")),
      histogram,
      h("h2", {}, "Milliseconds by stage: ", h("span", { class: "now" }, "median"), ", ", h("span", { class: "p99-text" }, "99th percentile")),
      stages.element,
    ),
  );
  const charts = { strip: scoreStrip(strip), histogram: scoreHistogram(histogram) };
  const observer = new ResizeObserver(() => {
    charts.strip.setSize(sizeOf(strip));
    charts.histogram.setSize(sizeOf(histogram));
  });
  observer.observe(strip);
  observer.observe(histogram);

  const take = (channel, frame) => {
    if (channel === "") {
      const state = frame.stations[station];
      if (!state) return;
      numbers.show([number(state.rate_hz), number(state.p50_ms, 0), number(state.p99_ms, 0)]);
      ledger.show(state);
      drift.show(state.drift);
    } else if (channel === station) {
      article.className = `station large ${verdictClass(frame.verdict, frame.within_spec)}`;
      article.dataset.seq = frame.seq;
      say(verdict, verdictText(frame));
      say(seq, `#${frame.seq}`);
      picture.show({ ...frame, station });
      const strongest = frame.spot ? `Strongest spot: ${spotText(frame.spot)}` : "";
      say(spot, frame.detail && !frame.cause ? frame.detail : strongest);
      say(placed, frame.placement ? `Placement: ${placementText(frame.placement)}` : "");
      bar.show(frame);
    }
  };
  if (feed.state) take("", feed.state);
  if (feed.parts.has(station)) take(station, feed.parts.get(station));
  const forget = feed.watch((channel, frame) => frame && take(channel, frame));

  /** @type {Calibration | null} */
  let calibration = null;
  get(`stations/${station}/calibration`).then((answer) => (calibration = answer), () => null);
  const refresh = async () => {
    /** @type {RecentParts | null} */
    const recent = await get(`stations/${station}/recent`).catch(() => null);
    if (recent === null || !recent.seq.length) return;
    charts.strip.setData([recent.captured_s, recent.score, recent.threshold]);
    charts.histogram.threshold = calibration?.threshold;
    charts.histogram.setData(bins(recent.score, calibration));
    stages.show(recent.stages);
  };
  refresh();
  const timer = setInterval(refresh, 1000);
  return () => {
    clearInterval(timer);
    forget();
    observer.disconnect();
    picture.close();
    charts.strip.destroy();
    charts.histogram.destroy();
  };
}

function scoreStrip(box) {
  const series = [
    {},
    { label: "score", stroke: COLOURS.action, width: 2, points: { show: false } },
    { label: "threshold", stroke: COLOURS.defect, width: 2, dash: [8, 6], points: { show: false } },
  ];
  const options = { ...sizeOf(box), series, axes: [{ ...AXIS, values: (_, splits) => splits.map(clock), space: 90 }, { ...AXIS, size: 56, space: 24 }], cursor: { show: false }, legend: { show: false } };
  return new uPlot({ ...options, scales: { y: { range: (_, low, high) => [Math.min(0, low), (Math.max(0, high) || 1) * 1.1] } } }, [[], [], []], box);
}

function scoreHistogram(box) {
  const bars = uPlot.paths.bars(BARS);
  const series = [
    {},
    { label: "now", stroke: COLOURS.action, fill: `${COLOURS.action}88`, paths: bars, points: { show: false } },
    { label: "calibration", stroke: COLOURS.good, width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
  ];
  const axes = [AXIS, { ...AXIS, size: 56, space: 24, values: (_, splits) => splits.map((v) => `${v} %`) }];
  const scales = { x: { time: false }, y: { range: (_, low, high) => [0, (high || 1) * 1.1] } };
  const hooks = { draw: [(chart) => drawLine(chart, chart.threshold, COLOURS.defect, [8, 6])] };
  const options = { ...sizeOf(box), series, axes, scales, hooks, cursor: { show: false }, legend: { show: false } };
  return new uPlot(options, [[], [], []], box);
}

// Shares in per cent of each bin.
/** @param {(number | null)[]} scores @param {Calibration | null} calibration */
function bins(scores, calibration) {
  const now = scores.filter((value) => value !== null);
  const good = calibration?.scores ?? [];
  const top = Math.max(1e-9, (calibration?.threshold ?? 0) * 2, ...good);
  const bottom = Math.min(0, calibration?.threshold ?? 0, ...good);
  const [middles] = histogram([], bottom, top, BINS);
  const share = (values) => histogram(values, bottom, top, BINS)[1].map((many) => (100 * many) / values.length || 0);
  return [middles, share(now), share(good)];
}

class Stages {
  constructor() {
    this._rows = new Map();
    this.element = h("div", { class: "stages" });
  }

  /** @param {Record<string, number>[]} parts milliseconds by stage */
  show(parts) {
    const columns = STAGES.map((stage) => [stage, parts.map((part) => part[stage]).filter((v) => v !== undefined).sort((a, b) => a - b)]);
    const at = (values, share) => values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0;
    const longest = Math.max(1, ...columns.map(([, values]) => at(values, 0.99)));
    for (const [stage, values] of columns) {
      if (!this._rows.has(stage)) this._rows.set(stage, this._row(stage));
      const row = this._rows.get(stage);
      row.p50.style.transform = `scaleX(${at(values, 0.5) / longest})`;
      row.p99.style.transform = `scaleX(${at(values, 0.99) / longest})`;
      say(row.text, `${number(at(values, 0.5))} · ${number(at(values, 0.99))}`);
    }
  }

  _row(stage) {
    const row = { p50: h("i", { class: "p50" }), p99: h("i", { class: "p99" }), text: h("span", { class: "stage-text" }) };
    this.element.append(h("span", {}, stage), h("span", { class: "stage-bar" }, row.p99, row.p50), row.text);
    return row;
  }
}
