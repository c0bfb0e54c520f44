// @ts-check
// One picture on the screen: drawn whole into a canvas, so that nothing flickers and no old pixels remain.

import { heat } from "./heatmap.js";
import { getBytes } from "./api.js";
import { h } from "./dom.js";

// Dark under light, so that the outlines show on any ground; widths in strokes.
const OUTLINES = [{ colour: "#000", times: 2.4 }, { colour: "#fff", times: 1 }];

// Distance of the lines of the hatching, in CSS pixels, and their opacity.
const HATCH = 10;
const HATCH_ALPHA = 0.5;

export const overlay = { on: true };

/** What bundles do not judge, by station and hash. @type {Map<string, Promise<ImageBitmap | null>>} */
const areas = new Map();

/** @param {string} station @param {string} bundle its hash @returns {Promise<ImageBitmap | null>} null: it judges everything */
function unjudgedArea(station, bundle) {
  const path = `stations/${station}/unjudged/${bundle}.png`;
  const known = areas.get(path);
  if (known) return known;
  const area = getBytes(path).then((answer) => (answer.status === 204 ? null : answer.blob().then(decoded)));
  areas.set(path, area);
  area.catch(() => areas.delete(path)); // asked again with the next part
  return area;
}

export class Picture {
  /** @param {string} label for screen readers */
  constructor(label) {
    this.canvas = h("canvas", { class: "picture", role: "img", "aria-label": label });
    this.element = h("div", { class: "picture-box" }, this.canvas);
    /** @type {Drawable | null} */
    this._part = null;
    /** @type {ReturnType<typeof heat> | undefined} */
    this._heat = undefined;
    /** @type {ImageBitmap | null} */
    this._unjudged = null;
    this._observer = new ResizeObserver(() => this.draw());
    this._observer.observe(this.element);
  }

  /** @param {Drawable | null} part null clears */
  show(part) {
    this._part = part;
    this._heat = undefined;
    this._findUnjudged(part);
    this.draw();
  }

  /** @param {Drawable | null} part */
  _findUnjudged(part) {
    if (!part?.image || !part.station || !part.bundle_sha256) {
      this._unjudged = null;
      return;
    }
    // The one of the part before stays until then, so that a live view does not flicker.
    unjudgedArea(part.station, part.bundle_sha256).catch(() => null).then((area) => {
      if (this._part !== part || this._unjudged === area) return;
      this._unjudged = area;
      this.draw();
    });
  }

  close() {
    this._observer.disconnect();
  }

  draw() {
    const box = this.element.getBoundingClientRect();
    const [width, height] = [box.width, box.height].map((size) => Math.round(size * devicePixelRatio));
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const image = this._part?.image;
    if (!image || !image.width) {
      this._sayWhy(context, width, height);
      return;
    }
    const scale = Math.min(width / image.width, height / image.height);
    const [w, hgt] = [image.width * scale, image.height * scale];
    const [x, y] = [(width - w) / 2, (height - hgt) / 2];
    context.imageSmoothingQuality = "high";
    context.drawImage(image, x, y, w, hgt);
    if (!overlay.on) return;
    if (this._unjudged) this._drawHatching(context, this._unjudged, x, y, w, hgt);
    this._drawHeat(context, x, y, w, hgt);
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {ImageBitmap} area
   * @param {number} x @param {number} y @param {number} width @param {number} height
   */
  _drawHatching(context, area, x, y, width, height) {
    const hatching = new OffscreenCanvas(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
    const lines = hatching.getContext("2d");
    if (lines === null) return;
    const step = HATCH * devicePixelRatio;
    lines.lineWidth = Math.max(1, devicePixelRatio);
    for (const [shift, colour] of [[0, "#fff"], [lines.lineWidth * Math.SQRT2, "#000"]]) {
      lines.strokeStyle = String(colour);
      lines.beginPath();
      for (let at = Number(shift); at < width + height; at += step) {
        lines.moveTo(at, 0);
        lines.lineTo(0, at);
      }
      lines.stroke();
    }
    lines.globalCompositeOperation = "destination-in";
    lines.imageSmoothingEnabled = false;
    lines.drawImage(area, 0, 0, hatching.width, hatching.height);
    context.globalAlpha = HATCH_ALPHA;
    context.drawImage(hatching, x, y, width, height);
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} x @param {number} y @param {number} width @param {number} height
   */
  _drawHeat(context, x, y, width, height) {
    const part = this._part;
    if (this._heat === undefined) this._heat = heat(part?.map, part?.pixel_threshold, width / height, part?.verdict === "DEFECT" || part?.within_spec === true);
    if (this._heat === null) return;
    if (this._heat.canvas) context.drawImage(this._heat.canvas, x, y, width, height);
    context.beginPath();
    for (const [x0, y0, x1, y1] of this._heat.outlines) {
      context.moveTo(x + x0 * width, y + y0 * height);
      context.lineTo(x + x1 * width, y + y1 * height);
    }
    const stroke = Math.max(1.5, Math.min(width, height) / 200);
    context.lineCap = "round";
    for (const { colour, times } of OUTLINES) {
      context.strokeStyle = colour;
      context.lineWidth = stroke * times;
      context.stroke();
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {number} width @param {number} height */
  _sayWhy(context, width, height) {
    context.fillStyle = "#8b98a8";
    context.font = `${Math.max(14, Math.min(width, height) / 12)}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(this._part ? "no picture" : "no part yet", width / 2, height / 2);
  }
}

/** @param {Blob} blob */
export async function decoded(blob) {
  return createImageBitmap(blob).catch(() => null);
}

// The switch of all heat maps; `changed` draws them again.
/** @param {() => void} changed */
export function overlayToggle(changed) {
  const box = h("input", { type: "checkbox", checked: overlay.on, id: "overlay" });
  box.addEventListener("change", () => {
    overlay.on = box.checked;
    changed();
  });
  return h("label", { class: "toggle", for: "overlay" }, box, " Heat map");
}
