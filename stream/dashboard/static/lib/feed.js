// The live feed. Each channel's newest is drawn, then acknowledged; only then does the server send the next.

const RECONNECT_MS = [200, 500, 1000, 2000];
const SILENT_MS = 2500;

export class Feed {
  constructor() {
    this.state = null;
    this.parts = new Map();
    this.connected = false;
    this._watchers = new Set();
    this._heard = -Infinity;
    this._attempt = 0;
    this._socket = null;
    this._wanted = false;
    setInterval(() => this._tell("link"), 500);
  }

  // `watcher(channel, part)` is called with "" for the state, "link" for the connection, or a station's name.
  watch(watcher) {
    this._watchers.add(watcher);
    return () => this._watchers.delete(watcher);
  }

  get alive() {
    return this.connected && performance.now() - this._heard < SILENT_MS;
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
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
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
      this._tell("link");
      if (event.code === 4401) this._tell("unknown");
      else if (this._wanted) setTimeout(() => this._retry(), RECONNECT_MS[Math.min(this._attempt++, 3)]);
    };
  }

  _retry() {
    if (this._wanted && this._socket === null) this._connect();
  }

  async _take(socket, data) {
    const frame = decode(data);
    if (frame.channel === "") {
      this.state = frame;
      this._heard = performance.now() - frame.age_s * 1000;
    } else {
      frame.image = frame.jpeg.byteLength
        ? await createImageBitmap(new Blob([frame.jpeg], { type: "image/jpeg" })).catch(() => null)
        : null;
      this.parts.get(frame.channel)?.image?.close();
      this.parts.set(frame.channel, frame);
    }
    // Not before the browser draws: a page that nobody sees asks for no pictures. Its alarms are heard all the same.
    if (frame.channel !== "") await new Promise(requestAnimationFrame);
    this._tell(frame.channel, frame);
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: frame.channel }));
  }

  _tell(channel, frame) {
    for (const watcher of this._watchers) watcher(channel, frame);
  }
}

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
