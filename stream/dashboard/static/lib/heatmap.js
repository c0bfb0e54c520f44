// @ts-check
// Heat map and outlines from a grid of patch distances, as the line draws its overlays (stream/model/visualization.py):
// up-sampled bilinearly, smoothed, painted from 0.9 to 1.3 times the pixel threshold; outlined are the anomalous area and, in a
// DEFECT, the strongest spot (stream/model/patchcore/spots.py).

const LONG_SIDE = 128;
const SIGMA_OF_SHORT_SIDE = 4 / 224;
const SIGMA_PATCHES = 0.5;
const HEAT_FROM = 0.9;
const HEAT_FULL = 1.3;
const ALPHA = 0.65;
const SPOT_SHARE_OF_PEAK = 0.9;
// Plasma without its dark end, which would look like shadow.
const COLOURS = [
  [135, 7, 166], [165, 31, 153], [191, 57, 132], [213, 83, 111], [230, 108, 92],
  [244, 136, 73], [252, 168, 53], [253, 203, 38], [243, 240, 39],
];

/**
 * The heat to be stretched over the picture (null: none), and line segments in shares of its sides; null without a map.
 * @param {PatchMap | null | undefined} map
 * @param {number | null | undefined} pixelThreshold
 * @param {number} aspect width / height
 * @param {boolean} spot outline the strongest spot, whatever its distance
 */
export function heat(map, pixelThreshold, aspect, spot) {
  if (!map || pixelThreshold === null || pixelThreshold === undefined) return null;
  const width = aspect >= 1 ? LONG_SIDE : Math.max(8, Math.round(LONG_SIDE * aspect));
  const height = aspect >= 1 ? Math.max(8, Math.round(LONG_SIDE / aspect)) : LONG_SIDE;
  const sigma = Math.min(width, height) * Math.min(SIGMA_OF_SHORT_SIDE, SIGMA_PATCHES / Math.min(...map.grid));
  const values = smooth(enlarge(map, width, height), width, height, sigma);
  const outlines = outlinesOf(values, width, height, pixelThreshold, spot);
  return { canvas: painted(values, width, height, Math.max(pixelThreshold, 1e-30)), outlines };
}

/** @param {Float32Array} values @param {number} width @param {number} height @param {number} threshold */
function painted(values, width, height, threshold) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  if (context === null) return null;
  const image = context.createImageData(width, height);
  let any = false;
  for (let i = 0; i < values.length; i++) {
    const share = Math.min(1, (values[i] / threshold - HEAT_FROM) / (HEAT_FULL - HEAT_FROM));
    if (share <= 0) continue;
    any = true;
    const place = share * (COLOURS.length - 1);
    const low = COLOURS[Math.floor(place)];
    const high = COLOURS[Math.ceil(place)];
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = low[c] + (high[c] - low[c]) * (place % 1);
    image.data[4 * i + 3] = 255 * ALPHA * Math.sqrt(share);
  }
  if (!any) return null;
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * @param {Float32Array} values @param {number} width @param {number} height
 * @param {number} threshold @param {boolean} spot
 */
function outlinesOf(values, width, height, threshold, spot) {
  const top = values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
  const level = Math.min(threshold, SPOT_SHARE_OF_PEAK * values[top]);
  if (!spot || level === threshold || values[top] <= 0) return contour(values, width, height, threshold);
  const region = connected(values, width, height, top, level);
  const only = values.map((value, i) => (region[i] || value <= level ? value : 0));
  const others = values.map((value, i) => (region[i] ? 0 : value));
  return [...contour(only, width, height, level), ...contour(others, width, height, threshold)];
}

// The pixels above a level that are connected with one of them, diagonals included.
/** @param {Float32Array} values @param {number} width @param {number} height @param {number} from @param {number} level */
function connected(values, width, height, from, level) {
  const region = new Uint8Array(values.length);
  const waiting = [from];
  region[from] = 1;
  while (waiting.length) {
    const at = /** @type {number} */ (waiting.pop());
    const [x, y] = [at % width, Math.floor(at / width)];
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++)
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
        const next = v * width + u;
        if (region[next] || values[next] <= level) continue;
        region[next] = 1;
        waiting.push(next);
      }
  }
  return region;
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

// Marching squares: line segments [x0, y0, x1, y1] in shares of the picture's sides, closed along its edges.
/** @param {Float32Array} values @param {number} width @param {number} height @param {number} level */
function contour(values, width, height, level) {
  /** @type {number[][]} */
  const segments = [];
  const cut = (a, b) => (level - a) / (b - a);
  const within = (x, y) => x > 0 && y > 0 && x < width - 1 && y < height - 1;
  const at = (x, y) => (within(x, y) ? values[y * width + x] : Math.min(level, values[y * width + x]));
  for (let y = 0; y < height - 1; y++)
    for (let x = 0; x < width - 1; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
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
