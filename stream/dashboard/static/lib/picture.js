// @ts-check
// One picture on the screen: drawn whole into a canvas, so that nothing flickers and no old pixels remain.

import { heat } from "./heatmap.js";
import { h } from "./dom.js";

// Dark under light, so that the outlines show on any ground; widths in strokes.
const OUTLINES = [{ colour: "#000", times: 2.4 }, { colour: "#fff", times: 1 }];

export const overlay = { on: true };

export class Picture {
  /** @param {string} label for screen readers */
  constructor(label) {
    this.canvas = h("canvas", { class: "picture", role: "img", "aria-label": label });
    this.element = h("div", { class: "picture-box" }, this.canvas);
    /** @type {Drawable | null} */
    this._part = null;
    /** @type {ReturnType<typeof heat> | undefined} */
    this._heat = undefined;
    this._observer = new ResizeObserver(() => this.draw());
    this._observer.observe(this.element);
  }

  /** @param {Drawable | null} part null clears */
  show(part) {
    this._part = part;
    this._heat = undefined;
    this.draw();
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
    if (overlay.on) this._drawHeat(context, x, y, w, hgt);
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
