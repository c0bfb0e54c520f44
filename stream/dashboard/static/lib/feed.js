// @ts-check
// The live feed. Each channel's newest is drawn, then acknowledged; only then does the server send the next.

const RECONNECT_MS = [200, 500, 1000, 2000];
const SILENT_MS = 2500;

export class Feed {
  constructor() {
    /** @type {StateFrame | null} */
    this.state = null;
    /** @type {Map<string, PartFrame>} */
    this.parts = new Map();
    this.connected = false;
    /** @type {Set<Watcher>} */
    this._watchers = new Set();
    this._receivedMs = -Infinity;
    this._attempt = 0;
    /** @type {WebSocket | null} */
    this._socket = null;
    this._wanted = false;
    setInterval(() => this._publish("link"), 500);
  }

  /**
   * @param {Watcher} watcher called with "" for the state, "link" for the connection, or a station's name
   * @returns {() => void} ends it
   */
  watch(watcher) {
    this._watchers.add(watcher);
    return () => void this._watchers.delete(watcher);
  }

  get alive() {
    return this.connected && performance.now() - this._receivedMs < SILENT_MS;
  }

  open() {
    this._wanted = true;
    if (this._socket === null) this._connect();
  }

  close() {
    this._wanted = false;
    this._socket?.close();
  }

  _connect() {
    // Below the path of the page, which a proxy may have put elsewhere; http becomes ws, https wss.
    const socket = new WebSocket(new URL("api/v1/live", location.href).href.replace(/^http/, "ws"));
    socket.binaryType = "arraybuffer";
    this._socket = socket;
    socket.onopen = () => {
      this.connected = true;
      this._attempt = 0;
    };
    socket.onmessage = (message) => this._take(socket, message.data);
    socket.onclose = (event) => {
      this.connected = false;
      this._socket = null;
      this._publish("link");
      if (event.code === 4401) this._publish("unknown");
      else if (this._wanted) setTimeout(() => this._retry(), RECONNECT_MS[Math.min(this._attempt++, 3)]);
    };
  }

  _retry() {
    if (this._wanted && this._socket === null) this._connect();
  }

  /** @param {WebSocket} socket @param {ArrayBuffer} data */
  async _take(socket, data) {
    const frame = decode(data);
    if (frame.channel === "") {
      this.state = frame;
      this._receivedMs = performance.now() - frame.age_s * 1000;
    } else {
      frame.image = frame.jpeg.byteLength
        ? await createImageBitmap(new Blob([frame.jpeg], { type: "image/jpeg" })).catch(() => null)
        : null;
      this.parts.get(frame.channel)?.image?.close();
      this.parts.set(frame.channel, frame);
    }
    // Not before the browser draws: a hidden page asks for no images. Its alarms are received all the same.
    if (frame.channel !== "") await new Promise(requestAnimationFrame);
    this._publish(frame.channel, frame);
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: frame.channel }));
  }

  _publish(channel, frame) {
    for (const watcher of this._watchers) watcher(channel, frame);
  }
}

/** @param {ArrayBuffer} data */
function decode(data) {
  const length = new DataView(data).getUint32(0, true);
  const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  if (frame.channel !== "") {
    const bytes = frame.grid[0] * frame.grid[1] * 2;
    frame.map = bytes ? { grid: frame.grid, values: halves(data.slice(4 + length, 4 + length + bytes)) } : null;
    frame.jpeg = data.slice(4 + length + bytes);
  }
  return frame;
}

// float16 → float32; what is no finite number becomes the largest that is.
/** @param {ArrayBuffer} buffer */
export function halves(buffer) {
  const words = new DataView(buffer);
  const values = new Float32Array(buffer.byteLength / 2);
  for (let i = 0; i < values.length; i++) {
    const word = words.getUint16(2 * i, true);
    const exponent = (word >> 10) & 31;
    const fraction = word & 1023;
    let value = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    if (exponent === 31) value = fraction ? 0 : 65504;
    values[i] = word >> 15 ? -value : value;
  }
  return values;
}
