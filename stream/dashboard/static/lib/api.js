// @ts-check
// The JSON API. The browser itself adds to each change that it comes from this page (Origin, Sec-Fetch-Site).

/** @type {Me} */
export const me = { name: null, role: null, login: false };

// Counts the answers about who is logged in.
let identities = 0;

/** @type {Set<() => void>} */
const listeners = new Set();
const RANKS = { viewer: 0, operator: 1, engineer: 2 };

/** @param {"viewer" | "operator" | "engineer"} role */
export const may = (role) => me.role !== null && RANKS[me.role] >= RANKS[role];

/** @param {() => void} listener */
export function onIdentity(listener) {
  listeners.add(listener);
}

/** @param {Me} answer */
function become(answer) {
  Object.assign(me, answer);
  identities += 1;
  for (const listener of listeners) listener();
}

export async function whoAmI() {
  become(await get("me"));
}

/**
 * @param {string} path below /api/v1/
 * @param {Record<string, any>} [parameters]
 * @returns {Promise<any>} the JSON of the answer
 */
export async function get(path, parameters = {}) {
  return (await request("GET", path + query(parameters))).json();
}

/** @param {string} path below /api/v1/ */
export async function getBytes(path) {
  return request("GET", path);
}

/**
 * @param {string} path below /api/v1/
 * @param {Record<string, any>} [body]
 * @returns {Promise<any>} the JSON of the answer
 */
export async function post(path, body = {}) {
  return (await request("POST", path, body)).json();
}

/** @param {string} name @param {string} password */
export async function login(name, password) {
  become(await post("login", { name, password }));
}

export async function logout() {
  become(await post("logout"));
}

/** @param {Record<string, any>} parameters a list is given as several of one name */
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const pairs = given.flatMap(([name, value]) => [value].flat().map((item) => [name, item]));
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

/** @param {string} method @param {string} path @param {Record<string, any>} [body] */
async function request(method, path, body) {
  /** @type {Record<string, string>} */
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const session = identities;
  const answer = await fetch(`api/v1/${path}`, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.ok) return answer;
  // A refusal of the session before this one says nothing about it.
  if (answer.status === 401 && path !== "login" && identities === session) become({ name: null, role: null, login: true });
  const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
  throw new Error(typeof problem.detail === "string" ? problem.detail : `error ${answer.status}`);
}
