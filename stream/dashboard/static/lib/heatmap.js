// @ts-check
// Heat map and contour from a grid of patch distances, as the line draws its overlays: up-sampled bilinearly,
// smoothed, painted from 0.8 to 2 times the pixel threshold, outlined at the threshold.

const LONG_SIDE = 128;
const SIGMA_OF_SHORT_SIDE = 4 / 224;
const HEAT_FROM = 0.8;
const HEAT_FULL = 2.0;
const ALPHA = 0.6;
// Inferno without its dark end, which would look like shadow.
const COLOURS = [
  [113, 25, 110], [144, 37, 104], [176, 49, 91], [204, 66, 72], [228, 90, 49],
  [244, 121, 24], [251, 157, 7], [250, 196, 42], [242, 234, 105],
];

// Returns {canvas, contour}: the heat to be stretched over the picture, line segments in shares of its sides; or null.
/**
 * @param {PatchMap | null | undefined} map
 * @param {number | null | undefined} pixelThreshold
 * @param {number} aspect width / height
 */
export function heat(map, pixelThreshold, aspect) {
  if (!map || pixelThreshold === null || pixelThreshold === undefined) return null;
  const width = aspect >= 1 ? LONG_SIDE : Math.max(8, Math.round(LONG_SIDE * aspect));
  const height = aspect >= 1 ? Math.max(8, Math.round(LONG_SIDE / aspect)) : LONG_SIDE;
  const values = smooth(enlarge(map, width, height), width, height, SIGMA_OF_SHORT_SIDE * Math.min(width, height));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  if (context === null) return null;
  const image = context.createImageData(width, height);
  const threshold = Math.max(pixelThreshold, 1e-30);
  let painted = false;
  for (let i = 0; i < values.length; i++) {
    const share = Math.min(1, (values[i] / threshold - HEAT_FROM) / (HEAT_FULL - HEAT_FROM));
    if (share <= 0) continue;
    painted = true;
    const place = share * (COLOURS.length - 1);
    const low = COLOURS[Math.floor(place)];
    const high = COLOURS[Math.ceil(place)];
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = low[c] + (high[c] - low[c]) * (place % 1);
    image.data[4 * i + 3] = 255 * ALPHA * Math.sqrt(share);
  }
  if (!painted) return null;
  context.putImageData(image, 0, 0);
  return { canvas, contour: contour(values, width, height, threshold) };
}

/** @param {PatchMap} map @param {number} width @param {number} height */
function enlarge({ grid: [rows, columns], values }, width, height) {
  const large = new Float32Array(width * height);
  const at = (place, last) => Math.min(last, Math.max(0, place));
  for (let y = 0; y < height; y++) {
    const v = at(((y + 0.5) * rows) / height - 0.5, rows - 1);
    const [y0, fy] = [Math.floor(v), v % 1];
    const y1 = Math.min(rows - 1, y0 + 1);
    for (let x = 0; x < width; x++) {
      const u = at(((x + 0.5) * columns) / width - 0.5, columns - 1);
      const [x0, fx] = [Math.floor(u), u % 1];
      const x1 = Math.min(columns - 1, x0 + 1);
      const top = values[y0 * columns + x0] * (1 - fx) + values[y0 * columns + x1] * fx;
      const bottom = values[y1 * columns + x0] * (1 - fx) + values[y1 * columns + x1] * fx;
      large[y * width + x] = top * (1 - fy) + bottom * fy;
    }
  }
  return large;
}

/** @param {Float32Array} values @param {number} width @param {number} height @param {number} sigma */
function smooth(values, width, height, sigma) {
  const radius = Math.max(1, Math.floor(4 * sigma + 0.5));
  const kernel = Float32Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp(-((k - radius) ** 2) / (2 * sigma ** 2)));
  const sum = kernel.reduce((a, b) => a + b);
  const mirror = (i, n) => (i < 0 ? -i : i >= n ? 2 * n - 2 - i : i);
  const across = new Float32Array(values.length);
  const down = new Float32Array(values.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let total = 0;
      for (let k = -radius; k <= radius; k++) total += kernel[k + radius] * values[y * width + mirror(x + k, width)];
      across[y * width + x] = total / sum;
    }
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let total = 0;
      for (let k = -radius; k <= radius; k++) total += kernel[k + radius] * across[mirror(y + k, height) * width + x];
      down[y * width + x] = total / sum;
    }
  return down;
}

// Marching squares: line segments [x0, y0, x1, y1] in shares of the picture's sides.
/** @param {Float32Array} values @param {number} width @param {number} height @param {number} level */
function contour(values, width, height, level) {
  /** @type {number[][]} */
  const segments = [];
  const cut = (a, b) => (level - a) / (b - a);
  for (let y = 0; y < height - 1; y++)
    for (let x = 0; x < width - 1; x++) {
      const a = values[y * width + x];
      const b = values[y * width + x + 1];
      const c = values[(y + 1) * width + x + 1];
      const d = values[(y + 1) * width + x];
      /** @type {number[][]} */
      const points = [];
      if (a > level !== b > level) points.push([x + cut(a, b), y]);
      if (b > level !== c > level) points.push([x + 1, y + cut(b, c)]);
      if (d > level !== c > level) points.push([x + cut(d, c), y + 1]);
      if (a > level !== d > level) points.push([x, y + cut(a, d)]);
      for (let i = 0; i + 1 < points.length; i += 2)
        segments.push([...points[i], ...points[i + 1]].map((v, k) => (v + 0.5) / (k % 2 ? height : width)));
    }
  return segments;
}
