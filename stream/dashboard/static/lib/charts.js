// @ts-check
// What the charts share: axes, boxes, and lines at thresholds.

import { h } from "./dom.js";

export const AXIS = { stroke: "#a9b4c0", grid: { stroke: "#2a323c" }, ticks: { stroke: "#2a323c" }, font: "14px system-ui" };
export const BARS = { size: [1, 100] };
export const COLOURS = { good: "#50d060", defect: "#ff5454", alarm: "#ffb020", action: "#6cb6ff" };

export const chartBox = () => h("div", { class: "chart" });

/** @param {Element} box */
export const sizeOf = (box) => ({ width: Math.max(100, box.clientWidth), height: Math.max(80, box.clientHeight) });

// A vertical line at a score.
/** @param {any} chart @param {number | null | undefined} value @param {string} colour @param {number[]} [dash] */
export function drawLine(chart, value, colour, dash = []) {
  if (value === null || value === undefined) return;
  const { ctx, bbox } = chart;
  const x = chart.valToPos(value, "x", true);
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

// Counts of the values in each of `bins` equal steps from `low` to `high`; values beyond are in the outermost ones.
/** @param {number[]} values @param {number} low @param {number} high @param {number} bins */
export function histogram(values, low, high, bins) {
  const counts = new Array(bins).fill(0);
  for (const value of values) {
    const bin = Math.floor(((value - low) / (high - low)) * bins);
    counts[Math.min(bins - 1, Math.max(0, bin))] += 1;
  }
  const middles = counts.map((_, i) => low + ((i + 0.5) * (high - low)) / bins);
  return [middles, counts];
}
