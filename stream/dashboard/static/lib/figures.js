// @ts-check
// What the line view and the station view both show of a station: ledger, drift, numbers, score against threshold.

import { count, h, number, say, score } from "./dom.js";

// A station's line of the ledger, and why parts were not inspected.
export class Ledger {
  constructor() {
    this._counts = new Numbers(["parts", "good", "defect", "uninspected", "pending"]);
    this.element = this._counts.element;
    this.causes = h("div", { class: "causes" });
  }

  /** @param {StationState} state */
  show({ announced, good, within_spec, defect, uninspected, pending }) {
    const all = Object.values(uninspected).reduce((a, b) => a + b, 0);
    this._counts.show([announced, good, defect, all, pending].map(count));
    const passed = within_spec ? [`${count(within_spec)} of the good within spec`] : [];
    const causes = [...passed, ...Object.entries(uninspected).map(([cause, many]) => `${cause} ${count(many)}`)].join(" · ");
    say(this.causes, causes);
    this.causes.title = causes;
  }
}

// Whether good parts are still like those of the calibration, with the population stability index of each quantity.
export class Drift {
  constructor() {
    this._word = h("b", {}, "–");
    this._numbers = h("span", { class: "quiet" });
    this.element = h("div", { class: "drift" }, "Drift ", this._word, " ", this._numbers);
    this.element.title = "population stability index of good parts against the calibration; from 0.25 on it is large";
  }

  /** @param {DriftState} drift */
  show({ parts, window, psi, drifting }) {
    const compared = Object.entries(psi);
    const known = compared.length > 0;
    const word = !window ? "cannot tell" : !known ? `${parts} of ${window} good parts` : drifting.length ? "drifting" : "steady";
    this.element.dataset.drift = known ? word : "unknown";
    say(this._word, word);
    say(this._numbers, window ? compared.map(([what, value]) => `${what} ${value.toFixed(2)}`).join(" · ") : "too few calibrated");
  }
}

/** @param {number | null} value */
const figure = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));

// Where a part resembles the good ones least, or one of its spots; empty without a spot.
/** @param {SpotAnswer | null | undefined} spot */
export function spotText(spot) {
  if (!spot) return "";
  const { place, zone, length_px, width_px, area_mm2, length_mm, width_mm, x_px, y_px, peak } = spot;
  const size = length_mm === null ? "" : ` = ${figure(length_mm)} × ${figure(width_mm)} mm, ${figure(area_mm2)} mm²`;
  const where = `${place}${zone ? ` (${zone})` : ""}`;
  return `${where}, ${number(length_px, 0)} × ${number(width_px, 0)} px${size} at ${number(x_px, 0)}, ${number(y_px, 0)}, ${number(peak, 2)} × pixel threshold`;
}

// A part's verdict in words: a cause where it was not inspected, and what is GOOD only because rules let it pass.
/** @param {{verdict: Verdict, cause: string | null, within_spec: boolean}} part */
export const verdictText = ({ verdict, cause, within_spec }) => cause ?? (within_spec ? `${verdict} within spec` : verdict);
/** How an aligned part lay in its frame. @param {Placement | null | undefined} placement */
export function placementText(placement) {
  if (!placement) return "";
  const { dx_px, dy_px, angle_deg, match } = placement;
  return `${number(dx_px)} px right, ${number(dy_px)} px down, turned ${number(angle_deg, 2)}°; match ${number(match, 2)}`;
}

export class Numbers {
  /** @param {string[]} names */
  constructor(names) {
    this._values = names.map(() => h("dd", {}, "–"));
    const pairs = names.map((name, i) => h("div", { "data-name": name }, h("dt", {}, name), this._values[i]));
    this.element = h("dl", { class: "numbers" }, ...pairs);
  }

  /** @param {string[]} texts */
  show(texts) {
    texts.forEach((text, i) => say(this._values[i], text));
  }
}

export class ScoreBar {
  constructor() {
    this._fill = h("div", { class: "bar-fill" });
    this._text = h("span", { class: "bar-text" }, "–");
    this.element = h(
      "div",
      { class: "bar", title: "score against threshold" },
      h("div", { class: "bar-track" }, this._fill, h("div", { class: "bar-threshold" })),
      this._text,
    );
  }

  /** @param {{score: number | null, threshold: number | null}} part */
  show(part) {
    const { score: value, threshold } = part;
    // The threshold is in the middle: half the bar is as long as it, and scores may be negative.
    const beyond = value === null || threshold === null ? -1 : (value - threshold) / (Math.abs(threshold) || 1);
    this._fill.style.transform = `scaleX(${Math.min(1, Math.max(0, (1 + beyond) / 2))})`;
    say(this._text, part.score === null ? "no score" : `${score(part.score)} / ${score(part.threshold)}`);
  }
}
