// The newest job of one kind at a station: how far it is, stopping it, and how it ended.

import { may, post } from "./api.js";
import { h, clock, mark, say } from "./dom.js";

export class JobProgress {
  constructor(kind, look) {
    this._kind = kind;
    this._look = look;
    this._job = null;
    this._stage = h("span", { role: "status" });
    this._count = h("span", { class: "quiet" });
    this._bar = h("progress", { "aria-label": `${kind}, progress` });
    this._stop = h("button", { type: "button", onclick: () => this._end() }, "Stop");
    this._problem = h("p", { class: "problem", role: "alert" });
    this.element = h("div", { class: "job gone" }, h("div", { class: "row" }, this._stage, this._count, may("engineer") ? this._stop : null), this._bar, this._problem);
  }

  // `jobs`: those of the station, newest first. Returns whether one of this kind runs.
  show(jobs) {
    const job = jobs.find((each) => each.kind === this._kind) ?? null;
    const running = job?.state === "running";
    if (job?.id !== this._job?.id) say(this._problem, "");
    this._job = job;
    mark(this.element, "gone", job === null);
    if (job === null) return false;
    say(this._stage, running ? job.stage || "starting" : said(job));
    say(this._count, running && job.total ? `${job.done} of ${job.total}` : `${job.who}, ${clock(job.begun_s)}`);
    mark(this._stage, "problem", job.state === "failed");
    mark(this._bar, "gone", !running);
    mark(this._stop, "gone", !running);
    this._stop.disabled = false;
    if (job.total) [this._bar.max, this._bar.value] = [job.total, Math.min(job.done, job.total)];
    else this._bar.removeAttribute("value");
    return running;
  }

  async _end() {
    this._stop.disabled = true;
    try {
      await post(`jobs/${this._job.id}/stop`);
      say(this._problem, "");
    } catch (error) {
      say(this._problem, error.message);
      this._stop.disabled = false;
    }
    this._look();
  }
}

function said(job) {
  if (job.state === "failed") return `failed: ${job.error}`;
  return job.state === "stopped" ? "stopped" : "done: see the change below";
}
