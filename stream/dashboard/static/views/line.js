// @ts-check
// The line at a glance: every station, the last rejects, and who is up.

import { clock, h, mark, number, say, score, verdictClass } from "../lib/dom.js";
import { Drift, Ledger, Numbers, ScoreBar, verdictText } from "../lib/figures.js";
import { Picture, overlayToggle } from "../lib/picture.js";

const THUMBNAILS = 12;

/** @param {HTMLElement} main @param {Context} context */
export function show(main, { feed, line }) {
  const cards = new Map(line.stations.map((station) => [station.name, new StationCard(station)]));
  const rejects = new Rejects();
  const peers = new Peers();
  const toggle = overlayToggle(() => cards.forEach((card) => card.picture.draw()));
  main.className = `line-view${cards.size > 2 ? " many" : ""}`;
  const rows = Math.max(1, Math.round(Math.sqrt(0.7 * cards.size)));
  main.style.setProperty("--columns", String(Math.ceil(cards.size / rows)));
  main.replaceChildren(
    h("section", { class: "stations", "aria-label": "stations" }, ...[...cards.values()].map((card) => card.element)),
    h("aside", { class: "side" }, toggle, peers.element, rejects.element),
  );
  const take = (channel, frame) => {
    if (channel === "") {
      for (const [name, state] of Object.entries(frame.stations)) cards.get(name)?.state(state);
      rejects.show(frame.rejects);
      peers.show(frame);
    } else cards.get(channel)?.part(frame);
  };
  if (feed.state) take("", feed.state);
  for (const [name, part] of feed.parts) take(name, part);
  const forget = feed.watch((channel, frame) => frame && take(channel, frame));
  return () => {
    forget();
    cards.forEach((card) => card.picture.close());
  };
}

class StationCard {
  /** @param {StationAnswer} station */
  constructor({ name }) {
    this.picture = new Picture(`newest part of ${name}`);
    this.verdict = h("span", { class: "verdict" }, "–");
    this.bar = new ScoreBar();
    this.seq = h("span", { class: "seq" });
    this.numbers = new Numbers(["parts/s", "p50 ms", "p99 ms"]);
    this.ledger = new Ledger();
    this.drift = new Drift();
    this.element = h(
      "article",
      { class: "station", "data-station": name },
      h("div", { class: "station-head" }, h("a", { href: `#/station/${name}`, class: "station-name", title: name }, name), this.seq, this.verdict),
      this.picture.element,
      this.bar.element,
      h("div", { class: "number-row" }, this.numbers.element, this.ledger.element),
      h("div", { class: "station-foot" }, this.drift.element, this.ledger.causes),
    );
  }

  /** @param {PartFrame} part */
  part(part) {
    this.element.className = `station ${verdictClass(part.verdict, part.within_spec)}`;
    this.verdict.title = part.detail;
    say(this.verdict, verdictText(part));
    say(this.seq, `#${part.seq}`);
    this.element.dataset.seq = part.seq;
    this.picture.show({ ...part, station: part.channel });
    this.bar.show(part);
  }

  /** @param {StationState} state */
  state(state) {
    this.numbers.show([number(state.rate_hz), number(state.p50_ms, 0), number(state.p99_ms, 0)]);
    this.ledger.show(state);
    this.drift.show(state.drift);
  }
}

class Rejects {
  constructor() {
    this._shown = new Map();
    this._list = h("div", { class: "thumbs" });
    this._none = h("p", { class: "quiet" }, "none yet");
    this.element = h("section", { class: "rejects" }, h("h2", {}, "Last rejects"), this._none, this._list);
  }

  /** @param {StateFrame["rejects"]} rejects */
  show(rejects) {
    const wanted = rejects.slice(0, THUMBNAILS);
    const keys = wanted.map((part) => `${part.channel}/${part.seq}`);
    if (keys.join() === this._keys) return;
    this._keys = keys.join();
    for (const part of wanted) {
      const key = `${part.channel}/${part.seq}`;
      if (!this._shown.has(key)) this._shown.set(key, thumb(part));
    }
    for (const key of this._shown.keys()) if (!keys.includes(key)) this._shown.delete(key);
    this._list.replaceChildren(...keys.map((key) => this._shown.get(key)));
    mark(this._none, "gone", keys.length);
  }
}

/** @param {StateFrame["rejects"][number]} part */
function thumb(part) {
  const image = h("div", { class: "thumb-picture" }, h("span", { class: "quiet" }, part.picture ? "" : "no picture"));
  if (part.picture) {
    const loaded = h("img", { alt: "", src: `api/v1/rejects/${part.channel}/${part.seq}.jpg` });
    loaded.decode().then(() => image.replaceChildren(loaded), () => image.replaceChildren("gone"));
  }
  return h(
    "a",
    { class: `thumb ${verdictClass(part.verdict)}`, href: `#/event/${part.channel}/${part.seq}` },
    image,
    h("span", { class: "thumb-text" }, `#${part.seq} ${part.channel}`),
    h("span", { class: "thumb-text" }, `${part.cause ?? score(part.score)} · ${clock(part.captured_s)}`),
  );
}

class Peers {
  constructor() {
    this._groups = ["cameras", "workers", "actuators"].map((kind) => [kind, h("div", { class: "peers" })]);
    const groups = this._groups.map(([kind, list]) => h("div", {}, h("h2", {}, kind), list));
    this.element = h("section", { class: "peer-groups" }, ...groups);
    this._dots = new Map();
  }

  /** @param {StateFrame} state */
  show(state) {
    for (const [kind, list] of this._groups)
      for (const [name, peer] of Object.entries(state[kind])) {
        const key = `${kind}/${name}`;
        if (!this._dots.has(key)) {
          this._dots.set(key, h("span", { class: "peer", "data-peer": key }, h("b", { "aria-hidden": "true" }), h("span", {})));
          list.append(this._dots.get(key));
        }
        const dot = this._dots.get(key);
        mark(dot, "up", peer.up);
        say(dot.firstChild, peer.up ? "●" : "▲");
        say(dot.lastChild, peer.up ? name : peer.text.includes(name) ? peer.text : `${name} down: ${peer.text}`);
      }
  }
}
