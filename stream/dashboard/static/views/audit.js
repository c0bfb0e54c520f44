// @ts-check
// Who changed what, for engineers.

import { get } from "../lib/api.js";
import { h, mark, moment } from "../lib/dom.js";

/** @param {HTMLElement} main */
export function show(main) {
  const rows = h("tbody");
  const none = h("p", { class: "quiet gone" }, "None yet. Nobody has changed anything.");
  const problem = h("p", { class: "problem", role: "alert" });
  const names = ["When", "Who", "What", "Detail"].map((name) => h("th", { scope: "col" }, name));
  const table = h("div", { class: "wide-table gone" }, h("table", { class: "history" }, h("thead", {}, h("tr", {}, ...names)), rows));
  main.className = "alarms-view";
  main.replaceChildren(
    h("h2", {}, "Audit log"),
    problem,
    none,
    table,
  );
  get("audit", { limit: 1000 }).then(
    (/** @type {AuditEntry[]} */ entries) => {
      rows.replaceChildren(
        ...entries.map((entry) =>
          h("tr", {}, ...[moment(entry.at_s).slice(0, 19), entry.who, entry.what, entry.detail].map((text) => h("td", {}, text))),
        ),
      );
      mark(table, "gone", !entries.length);
      mark(none, "gone", entries.length > 0);
    },
    (error) => problem.append(error.message),
  );
  return () => null;
}
