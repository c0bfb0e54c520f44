// @ts-check
// Who changed what, for engineers.

import { get } from "../lib/api.js";
import { h, moment } from "../lib/dom.js";

/** @param {HTMLElement} main */
export function show(main) {
  const rows = h("tbody");
  const problem = h("p", { class: "problem", role: "alert" });
  const names = ["When", "Who", "What", "Detail"].map((name) => h("th", { scope: "col" }, name));
  main.className = "alarms-view";
  main.replaceChildren(
    h("h2", {}, "Audit log"),
    problem,
    h("table", { class: "history" }, h("thead", {}, h("tr", {}, ...names)), rows),
  );
  get("audit", { limit: 1000 }).then(
    (/** @type {AuditEntry[]} */ entries) =>
      rows.replaceChildren(
        ...entries.map((entry) =>
          h("tr", {}, ...[moment(entry.at_s).slice(0, 19), entry.who, entry.what, entry.detail].map((text) => h("td", {}, text))),
        ),
      ),
    (error) => problem.append(error.message),
  );
  return () => null;
}
