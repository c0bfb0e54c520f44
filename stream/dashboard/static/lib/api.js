// The JSON API. The browser itself says with each change that this page sends it (Origin, Sec-Fetch-Site).

export const me = { name: null, role: null, login: false };

// Counts the answers about who is logged in.
let identities = 0;

const listeners = new Set();
const RANKS = { viewer: 0, operator: 1, engineer: 2 };

export const may = (role) => me.role !== null && RANKS[me.role] >= RANKS[role];

export function onIdentity(listener) {
  listeners.add(listener);
}

function become(answer) {
  Object.assign(me, answer);
  identities += 1;
  for (const listener of listeners) listener();
}

export async function whoAmI() {
  become(await get("me"));
}

export async function get(path, parameters = {}) {
  return (await request("GET", path + query(parameters))).json();
}

export async function getBytes(path) {
  return request("GET", path);
}

export async function post(path, body = {}) {
  return (await request("POST", path, body)).json();
}

export async function login(name, password) {
  become(await post("login", { name, password }));
}

export async function logout() {
  become(await post("logout"));
}

export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const pairs = given.flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

async function request(method, path, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const session = identities;
  const answer = await fetch(`/api/v1/${path}`, {
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
