// Elements from values; text is always text, never markup.

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
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Puts elements into a list, unless they are there already.
export function fill(list, elements) {
  const there = list.children;
  if (elements.length !== there.length || elements.some((each, i) => each !== there[i])) list.replaceChildren(...elements);
}

export function mark(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

export const number = (value, digits = 1) =>
  value === null || value === undefined ? "–" : value.toFixed(digits);

export const score = (value) => (value === null || value === undefined ? "–" : value.toPrecision(4));

export const count = (value) => value.toLocaleString("en-US").replaceAll(",", "\u202f");

const pad = (value, width = 2) => String(value).padStart(width, "0");

export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${clock(seconds)}.${pad(date.getMilliseconds(), 3)}`;
}

export const verdictClass = (verdict) => `is-${verdict.toLowerCase()}`;
