// @ts-check
// Every change of a station's bundle: what it does, putting it live, taking it back.

import { may, post } from "../../lib/api.js";
import { ask, facts } from "../../lib/dialog.js";
import { count, fill, h, mark, moment, say, score, verdictClass } from "../../lib/dom.js";
import { verdictText } from "../../lib/figures.js";
import { DEFECTIVE, MARKS } from "../../lib/mark_names.js";
import { recentParts } from "./recent_parts.js";

const KINDS = {
  accept: "Parts accepted into good",
  marks: "Learned from marks",
  threshold: "Threshold moved",
  teach: "Taught again",
  leave_out: "Good pictures left out",
};
const DOING = { live: "putting live…", undo: "undoing…", discard: "discarding…" };

export class Changes {
  /** @param {string} station @param {() => Promise<void>} look asks the API again */
  constructor(station, look) {
    this._station = station;
    this._look = look;
    this._cards = new Map();
    this._none = h("p", { class: "quiet" }, "None yet.");
    this._list = h("div", { class: "change-list" });
    this.element = h("section", { class: "changes", "aria-labelledby": "tune-changes" }, h("h2", { id: "tune-changes" }, "Changes"), this._none, this._list);
  }

  /** @param {Change[]} changes @param {string} bundle hash of the live bundle */
  show(changes, bundle) {
    for (const change of changes) {
      if (!this._cards.has(change.id)) this._cards.set(change.id, new ChangeCard(change, this._look));
      this._cards.get(change.id).show(change, bundle);
    }
    const cards = changes.map((change) => this._cards.get(change.id).element);
    fill(this._list, cards);
    mark(this._none, "gone", cards.length);
  }
}

class ChangeCard {
  /** @param {Change} change @param {() => Promise<void>} look asks the API again */
  constructor(change, look) {
    this._look = look;
    this._change = change;
    this._busy = false;
    this._state = h("span", { class: "state" });
    this._status = h("p", { class: "status", role: "status" });
    this._log = h("ol", { class: "log" });
    this._buttons = {
      live: h("button", { type: "button", class: "strong", onclick: () => this._confirm() }, "Put live…"),
      undo: h("button", { type: "button", onclick: () => this._do("undo") }, "Undo"),
      discard: h("button", { type: "button", onclick: () => this._do("discard") }, "Discard"),
    };
    const many = `${change.table.length} reviewed part${change.table.length === 1 ? "" : "s"}: before and after`;
    this.element = h(
      "article",
      { class: "panel change", "data-change": change.id, tabindex: "-1" },
      h(
        "div",
        { class: "panel-head" },
        h("b", {}, KINDS[change.kind]),
        this._state,
        h("span", { class: "quiet" }, `${change.who} · ${moment(change.at_s).slice(0, 19)}`),
        change.note ? h("span", {}, `“${change.note}”`) : null,
      ),
      h("div", { class: "before-after" }, ...numbers(change)),
      ...change.warnings.map((text) => h("p", { class: "warning" }, text)),
      ...summary(change.table),
      ...recentParts(change),
      shadow(change),
      change.table.length ? h("details", { open: change.state === "offered" }, h("summary", {}, many), h("div", { class: "scroll" }, table(change))) : null,
      may("engineer") ? h("div", { class: "row" }, ...Object.values(this._buttons)) : null,
      this._status,
      h("details", {}, h("summary", {}, "Log"), this._log),
    );
  }

  /** @param {Change} change @param {string} bundle hash of the live bundle */
  show(change, bundle) {
    this._change = change;
    const state = change.state === "live" && change.bundle_sha256 !== bundle ? "replaced" : change.state;
    say(this._state, state);
    this._state.className = `state is-${state}`;
    const shown = { live: change.may_go_live, undo: change.may_undo, discard: ["offered", "undone"].includes(change.state) };
    for (const [name, button] of Object.entries(this._buttons)) {
      mark(button, "gone", !shown[name]);
      button.disabled = this._busy;
    }
    if (this._log.children.length !== change.log.length)
      this._log.replaceChildren(...change.log.map((entry) => h("li", {}, `${moment(entry.at_s).slice(0, 19)} · ${entry.who} · ${entry.what}`)));
  }

  async _confirm() {
    const { station, kind, threshold_before, threshold_after, patches_before, patches_after, warnings, table: rows } = this._change;
    const changes = facts([
      ["Station", station],
      ["Change", KINDS[kind]],
      ["Threshold", `${score(threshold_before)} → ${score(threshold_after)}`],
      ["Patches remembered", `${count(patches_before)} → ${count(patches_after)}`],
    ]);
    const body = [changes, ...warnings.map((text) => h("p", { class: "warning" }, text)), ...summary(rows)];
    if ((await ask(this.element, { title: "Put this change live?", body, confirm: "Put live" })) !== null) await this._do("live");
  }

  /** @param {"live" | "undo" | "discard"} action */
  async _do(action) {
    this._busy = true;
    this._report(DOING[action]);
    try {
      await post(`changes/${this._change.id}/${action}`);
      this._busy = false;
      this._report("");
    } catch (error) {
      this._busy = false;
      this._report(error.message, true);
    }
    await this._look();
    if (document.activeElement === document.body) this.element.focus();
  }

  _report(text, wrong = false) {
    say(this._status, text);
    mark(this._status, "problem", wrong);
    for (const button of Object.values(this._buttons)) button.disabled = this._busy;
  }
}

// How to have every part scored by the new bundle before it decides anything.
/** @param {Change} change */
function shadow({ station, bundle_sha256 }) {
  const path = `bundles/${station}/${bundle_sha256}.safetensors`;
  const text = "below store.path, scores every part beside the live bundle and decides nothing. Start the workers again after that.";
  return h("details", {}, h("summary", {}, "Try as shadow first"), h("p", { class: "small" }, `stations.${station}.shadow: `, h("code", {}, path), `, ${text}`));
}

/** @param {Change} change */
function numbers(change) {
  const pair = (name, before, after) => h("span", {}, `${name} `, h("b", {}, before === after ? `${after}` : `${before} → ${after}`));
  return [
    pair("threshold", score(change.threshold_before), score(change.threshold_after)),
    pair("patches", count(change.patches_before), count(change.patches_after)),
    h("span", { class: "quiet" }, `bundle ${change.base_sha256.slice(0, 12)} → ${change.bundle_sha256.slice(0, 12)}`),
  ];
}

/** @param {MarkedPartComparison} row */
const passes = (row) => row.verdict_after === "GOOD";

// A class and a word for what becomes of a reviewed part; null when nothing that matters does.
/** @param {MarkedPartComparison} row */
function effect(row) {
  if (DEFECTIVE.includes(row.mark)) {
    if (!passes(row)) return row.verdict_before === "GOOD" ? ["better", "found"] : null;
    return ["worse", "missed"];
  }
  if (row.verdict_before === row.verdict_after) return null;
  return passes(row) ? ["better", "passes"] : ["worse", "rejected again"];
}

// What the change does to the reviewed parts, in two sentences at most.
/** @param {MarkedPartComparison[]} rows */
function summary(rows) {
  const share = (...names) => {
    const marked = rows.filter((row) => names.includes(row.mark));
    return [marked.filter(passes).length, marked.length];
  };
  const [alarms, ofAlarms] = share("false_alarm");
  const [defects, ofDefects] = share(...DEFECTIVE);
  const missed = defects ? ": they would be missed" : "";
  return [
    ofAlarms ? h("p", { class: alarms ? "better" : "quiet" }, `${alarms} of ${ofAlarms} false alarms would be GOOD.`) : null,
    ofDefects ? h("p", { class: defects ? "worse" : "quiet" }, `${defects} of ${ofDefects} marked defects would be GOOD${missed}.`) : null,
  ].filter(Boolean);
}

/** @param {Change} change */
function table(change) {
  const head = ["Part", "Mark", "Score", "Verdict"].map((name) => h("th", { scope: "col" }, name));
  const verdict = (value, within) => h("span", { class: `word ${verdictClass(value ?? "–", within)}` }, value ? verdictText({ verdict: value, cause: null, within_spec: within }) : "–");
  const row = (comparison) =>
    h(
      "tr",
      { class: effect(comparison)?.[0], "data-event": comparison.event_id },
      h("td", {}, h("a", { href: `#/event/${change.station}/${comparison.seq}` }, `#${comparison.seq}`)),
      h("td", {}, MARKS[comparison.mark]),
      h("td", {}, `${score(comparison.score_before)} → ${score(comparison.score_after)}`),
      h("td", {}, verdict(comparison.verdict_before, comparison.within_spec_before), " → ", verdict(comparison.verdict_after, comparison.within_spec_after), effect(comparison) ? ` · ${effect(comparison)?.[1]}` : ""),
    );
  // What would be missed first, then what else changes.
  const rank = (comparison) => ["worse", "better"].indexOf(effect(comparison)?.[0] ?? "better") + (effect(comparison) ? 0 : 1);
  const rows = [...change.table].sort((a, b) => rank(a) - rank(b)).map(row);
  return h("table", { class: "history" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
}
