// @ts-check
// What a change does to the parts of the last day: how many verdicts differ, and which.

import { count, h, score, verdictClass } from "../../lib/dom.js";
import { verdictText } from "../../lib/figures.js";

/** @param {Change} change @returns {HTMLElement[]} none where the change was not tried on recent parts */
export function recentParts(change) {
  const { recent, station } = change;
  if (!recent) return [];
  const { parts, left_out, to_good, to_defect, changed } = recent;
  const of = `of ${count(parts)} parts of the last day with a picture${left_out ? ` (the latest; ${count(left_out)} older ones were left out)` : ""}`;
  if (!changed.length) return [h("p", { class: "quiet" }, `No verdict differs ${of}.`)];
  const text = `${count(to_good + to_defect)} ${of} get another verdict: ${count(to_good)} GOOD, ${count(to_defect)} DEFECT`;
  return [h("details", { class: "recent" }, h("summary", {}, text), h("div", { class: "part-strip" }, ...changed.map((part) => thumbnail(station, part))))];
}

/** @param {string} station @param {ChangedPart} part */
function thumbnail(station, part) {
  const image = h("img", { alt: "", loading: "lazy", src: `api/v1/events/${part.event_id}/preview.jpg`, width: 96, height: 72 });
  const verdict = h("b", { class: `word ${verdictClass(part.verdict_after, part.within_spec_after)}` }, verdictText({ verdict: part.verdict_after, cause: null, within_spec: part.within_spec_after }));
  return h(
    "a",
    { href: `#/event/${station}/${part.seq}`, "aria-label": `event ${part.seq}, now ${part.verdict_after}`, "data-event": part.event_id },
    image,
    h("span", {}, `#${part.seq}`),
    h("span", {}, "→ ", verdict),
    h("span", { class: "quiet" }, `${score(part.score_before)} → ${score(part.score_after)}`),
  );
}
