// @ts-check
// An audible alarm: two short tones, again and again, while an active alarm is not acknowledged.

import { byId, say } from "./dom.js";

const STORED = "patchline-sound";
const EVERY_MS = 3000;
const TONES_HZ = [880, 660];
const TONE_S = 0.2;
const LOUDNESS = 0.25;
const TEXTS = { off: "Sound off", blocked: "Sound blocked by the browser: click", quiet: "Sound on", sounding: "Sound on" };
const TITLES = {
  off: "No tone when an alarm is raised",
  blocked: "The browser lets this page make no sound before you click it or press a key",
  quiet: "A tone while an active alarm is not acknowledged",
  sounding: "An active alarm is not acknowledged",
};

class Sound {
  /** @param {HTMLElement} element the button that turns it on and off */
  constructor(element) {
    this._element = element;
    this._wanted = localStorage.getItem(STORED) === "on";
    this._unacknowledged = false;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._timer = undefined;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {GainNode | null} */
    this.output = null;
    element.addEventListener("click", () => this._press());
    for (const kind of ["click", "keydown"])
      document.addEventListener(kind, (event) => this._wanted && !element.contains(/** @type {Node} */ (event.target)) && this._begin());
    if (this._wanted) this._begin();
    this._show();
  }

  /** @param {ActiveAlarm[]} alarms that are active */
  update(alarms) {
    this._unacknowledged = alarms.some((alarm) => !alarm.acknowledged_by);
    this._show();
  }

  get _state() {
    if (!this._wanted) return "off";
    if (this.context?.state !== "running") return "blocked";
    return this._unacknowledged ? "sounding" : "quiet";
  }

  _press() {
    const on = this._state === "off" || this._state === "blocked";
    this._wanted = on;
    localStorage.setItem(STORED, on ? "on" : "off");
    if (on) this._begin();
    this._show();
  }

  // The browser keeps the page silent until the user has clicked it or pressed a key.
  _begin() {
    if (this.context === null) {
      this.context = new AudioContext();
      this.output = new GainNode(this.context, { gain: LOUDNESS });
      this.output.connect(this.context.destination);
      this.context.addEventListener("statechange", () => this._show());
    }
    this.context.resume().catch(() => null);
  }

  _show() {
    const state = this._state;
    this._element.dataset.state = state;
    this._element.title = TITLES[state];
    this._element.setAttribute("aria-pressed", String(this._wanted));
    say(this._element, TEXTS[state]);
    if (state === "sounding" && this._timer === undefined) {
      this._play();
      this._timer = setInterval(() => this._play(), EVERY_MS);
    } else if (state !== "sounding") {
      clearInterval(this._timer);
      this._timer = undefined;
    }
  }

  _play() {
    const { context, output } = this;
    if (context === null || output === null) return;
    TONES_HZ.forEach((frequency, i) => {
      const begin = context.currentTime + i * TONE_S;
      const tone = new OscillatorNode(context, { frequency });
      const envelope = new GainNode(context, { gain: 0 });
      // Without a slope at both ends it would click.
      envelope.gain.setTargetAtTime(1, begin, 0.01);
      envelope.gain.setTargetAtTime(0, begin + TONE_S - 0.05, 0.01);
      tone.connect(envelope).connect(output);
      tone.start(begin);
      tone.stop(begin + TONE_S);
    });
  }
}

export const sound = new Sound(byId("sound"));
