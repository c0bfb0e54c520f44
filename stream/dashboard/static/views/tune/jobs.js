// @ts-check
// The newest job of one kind at a station: its progress, stopping it, and how it ended.

import { may, post } from "../../lib/api.js";
import { h, clock, mark, say } from "../../lib/dom.js";

// Ask for a job; an error is shown in `problem`, and the note stays for the next attempt.
/** @param {string} path @param {Record<string, any>} body @param {any} note an input @param {any} problem where an error is shown */
export async function beginJob(path, body, note, problem) {
  try {
    await post(path, { ...body, note: note.value });
    say(problem, "");
    note.value = "";
  } catch (error) {
    say(problem, error.message);
  }
}

export class JobProgress {
  /** @param {Job["kind"]} kind @param {() => void} look asks the API again */
  constructor(kind, look) {
    this._kind = kind;
    this._look = look;
    /** @type {Job | null} */
    this._job = null;
    this._stage = h("span", { role: "status" });
    this._count = h("span", { class: "quiet" });
    this._bar = h("progress", { "aria-label": `${kind}, progress` });
    this._stop = h("button", { type: "button", onclick: () => this._end() }, "Stop");
    this._problem = h("p", { class: "problem", role: "alert" });
    const line = h("div", { class: "row" }, this._stage, this._count, may("engineer") ? this._stop : null);
    this._own = h("div", { class: "job gone" }, line, this._bar, this._problem);
    this._other = h("p", { class: "status quiet" });
    this.element = h("div", {}, this._own, this._other);
  }

  // `jobs`: newest first. Returns whether any runs: there is one at a time.
  /** @param {Job[]} jobs @param {string} station */
  show(jobs, station) {
    const other = jobs.find((job) => job.state === "running" && job.station !== station);
    say(this._other, other ? `${other.who} has a job running at ${other.station}: one at a time.` : "");
    this._show(jobs.find((job) => job.kind === this._kind && job.station === station) ?? null);
    return jobs.some((job) => job.state === "running");
  }

  /** @param {Job | null} job */
  _show(job) {
    const running = job?.state === "running";
    if (job?.id !== this._job?.id) say(this._problem, "");
    this._job = job;
    mark(this._own, "gone", job === null);
    if (job === null) return;
    say(this._stage, running ? job.stage || "starting" : outcome(job));
    say(this._count, running && job.total ? `${job.done} of ${job.total}` : `${job.who}, ${clock(job.begun_s)}`);
    mark(this._stage, "problem", job.state === "failed");
    mark(this._bar, "gone", !running);
    mark(this._stop, "gone", !running);
    this._stop.disabled = false;
    if (job.total) [this._bar.max, this._bar.value] = [job.total, Math.min(job.done, job.total)];
    else this._bar.removeAttribute("value");
  }

  async _end() {
    this._stop.disabled = true;
    try {
      await post(`jobs/${this._job?.id}/stop`);
      say(this._problem, "");
    } catch (error) {
      say(this._problem, error.message);
      this._stop.disabled = false;
    }
    this._look();
  }
}

/** @param {Job} job */
function outcome(job) {
  if (job.state === "failed") return `failed: ${job.error}`;
  return job.state === "stopped" ? "stopped" : "done: see the change below";
}
