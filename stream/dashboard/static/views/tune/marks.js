// @ts-check
// Reviewed parts in the threshold's chart: false alarms as discs in one row, true defects as diamonds in another.

import { DEFECTIVE } from "../../lib/mark_names.js";
import { COLOURS } from "../../lib/charts.js";

const ROWS = [
  { marks: ["false_alarm"], y_px: 14, colour: COLOURS.alarm },
  { marks: DEFECTIVE, y_px: 38, colour: COLOURS.defect },
];
const RADIUS_PX = 8;

// `reviewed`: [{mark, score}]; those that would cover each other are drawn once, with their number in it.
export function drawMarks(chart, reviewed) {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = `bold ${11 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "center";
  ctx.strokeStyle = "#000";
  for (const { marks, y_px, colour } of ROWS) {
    const y = bbox.top + y_px * ratio;
    for (const [x, many] of places(chart, reviewed.filter((part) => marks.includes(part.mark) && part.score !== null))) {
      ctx.fillStyle = colour;
      ctx.beginPath();
      if (marks !== DEFECTIVE) ctx.arc(x, y, RADIUS_PX * ratio, 0, 2 * Math.PI);
      else diamond(ctx, x, y, (RADIUS_PX + 2) * ratio);
      ctx.fill();
      ctx.stroke();
      if (many === 1) continue;
      ctx.fillStyle = "#000";
      ctx.fillText(String(many), x, y + ratio);
    }
  }
  ctx.restore();
}

function places(chart, parts) {
  const found = [];
  const step = 2 * (RADIUS_PX + 2) * devicePixelRatio;
  for (const x of parts.map((part) => chart.valToPos(part.score, "x", true)).sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last && x - last[0] < step) last[1] += 1;
    else found.push([x, 1]);
  }
  return found;
}

function diamond(ctx, x, y, radius) {
  ctx.moveTo(x, y - radius);
  ctx.lineTo(x + radius, y);
  ctx.lineTo(x, y + radius);
  ctx.lineTo(x - radius, y);
  ctx.closePath();
}
