// @ts-check
// Elements from values; text is always text, never markup.

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `on…`: listeners; properties; attributes
 * @param {...(Node | string | null | undefined)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Writes only what has changed, so that nothing flickers and no selection is lost.
/** @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Puts elements into a list, unless they are there already.
/** @param {Element} list @param {Element[]} elements */
export function fill(list, elements) {
  const there = list.children;
  if (elements.length !== there.length || elements.some((element, i) => element !== there[i])) list.replaceChildren(...elements);
}

/** @param {Element} element @param {string} name @param {unknown} on */
export function mark(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

/** @param {number | null | undefined} value */
export const number = (value, digits = 1) =>
  value === null || value === undefined ? "–" : value.toFixed(digits);

/** @param {number | null | undefined} value */
export const score = (value) => (value === null || value === undefined ? "–" : value.toPrecision(4));

/** @param {number} value */
export const count = (value) => value.toLocaleString("en-US").replaceAll(",", "\u202f");

const pad = (value, width = 2) => String(value).padStart(width, "0");

/** @param {number} seconds since 1970 */
export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** @param {number} seconds since 1970 */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${clock(seconds)}.${pad(date.getMilliseconds(), 3)}`;
}

// An element that index.html has.
/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** @param {string} verdict */
export const verdictClass = (verdict, withinSpec = false) => `is-${verdict.toLowerCase()}${withinSpec ? " is-within-spec" : ""}`;
