// @ts-check
// The page: the user, the view that is shown, and whether it is up to date.

import * as alarms from "./views/alarms.js";
import { get, login, logout, may, me, onIdentity, whoAmI } from "./lib/api.js";
import * as audit from "./views/audit.js";
import { byId, h, mark, say } from "./lib/dom.js";
import * as events from "./views/events/events.js";
import { Feed } from "./lib/feed.js";
import * as line from "./views/line.js";
import { sound } from "./lib/sound.js";
import * as station from "./views/station.js";
import * as tune from "./views/tune/tune.js";

const main = byId("main");
const link = byId("link");
const person = byId("person");
const strip = new alarms.AlarmStrip(byId("alarms"));
const feed = new Feed();
/** @type {LineAnswer | null} */
let configuration = null;
/** @type {(() => void) | null} ends the view that is shown */
let leave = null;

feed.watch((channel, frame) => {
  if (channel === "" && frame) {
    strip.show(frame.alarms);
    sound.update(frame.alarms);
  }
  if (channel === "unknown") whoAmI().catch(() => null);
  const stale = !feed.alive;
  mark(document.body, "stale", stale);
  mark(link, "bad", stale);
  say(link, !feed.connected ? "reconnecting" : stale ? "no data from the line" : "live");
});

onIdentity(() => {
  const out = h("button", { type: "button", onclick: () => logout() }, "Log out");
  const role = h("span", { class: "quiet" }, me.role);
  person.replaceChildren(...(me.login && me.name ? [h("span", {}, me.name), role, out] : []));
  mark(document.body, "out", me.name === null);
  byId("audit").hidden = !may("engineer");
  if (me.name === null) {
    feed.close();
    sound.update([]);
    showLogin();
  } else feed.open();
});

addEventListener("hashchange", () => route());

async function route() {
  if (me.name === null || configuration === null) return;
  leave?.();
  leave = null;
  const [view, name, seq] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  for (const a of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("#nav a"))) {
    const here = a.hash === `#/${{ station: "line", event: "events" }[view] ?? (view || "line")}`;
    if (here) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  const context = { feed, line: configuration };
  if (view === "station" && configuration.stations.some((known) => known.name === name)) {
    leave = station.show(main, { ...context, station: name });
  } else if (view === "events") leave = events.show(main, { ...context, part: null });
  else if (view === "event") leave = events.show(main, { ...context, part: { station: name, seq: Number(seq) } });
  else if (view === "alarms") leave = alarms.show(main, context);
  else if (view === "tune") leave = tune.show(main, { ...context, ...tuned(name, seq) });
  else if (view === "audit") leave = audit.show(main);
  else leave = line.show(main, context);
}

// The station that an address names, or the first; and the event that is to be accepted there, if any.
function tuned(name, event) {
  const names = (configuration?.stations ?? []).map((known) => known.name);
  return { station: names.includes(name) ? name : names[0], event: event ? Number(event) : null };
}

function showLogin() {
  if (main.className === "login-view") return; // a user may be typing in it
  leave?.();
  leave = null;
  const name = h("input", { id: "login-name", autocomplete: "username", required: true });
  const password = h("input", { id: "login-password", type: "password", autocomplete: "current-password", required: true });
  const problem = h("p", { class: "problem", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    try {
      await login(name.value, password.value);
      await begin();
    } catch (error) {
      say(problem, error.message);
      password.value = "";
      password.focus();
    }
  };
  main.className = "login-view";
  main.replaceChildren(
    h(
      "form",
      { class: "login", onsubmit: submit },
      h("h1", {}, "PatchLine"),
      h("label", { for: "login-name" }, "Name", name),
      h("label", { for: "login-password" }, "Password", password),
      h("button", { type: "submit" }, "Log in"),
      problem,
    ),
  );
  name.focus();
}

async function begin() {
  /** @type {LineAnswer} */
  const answer = await get("line");
  configuration = answer;
  const name = byId("name");
  say(name, answer.line);
  name.title = answer.line;
  document.title = `${answer.line} · PatchLine`;
  await route();
}

async function start() {
  try {
    await whoAmI();
    if (me.name !== null) await begin();
  } catch {
    setTimeout(start, 1000);
  }
}

start();
