// Numbers, dates and elements as the desk writes them. Money arrives as decimal strings and stays exact.

const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", maximumFractionDigits: 0 });
const cents = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const units = new Intl.NumberFormat("en-US", { maximumFractionDigits: 4 });
const longDay = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const shortDay = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const instant = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const MINUS = "\u2212";

const typographic = (text) => text.replace("-", MINUS);

export const usd = (amount) => typographic(dollars.format(amount));
export const usdCents = (amount) => typographic(cents.format(amount));
export const quantity = (amount) => typographic(units.format(amount));
export const signedUsd = (amount) => (Number(amount) > 0 ? "+" : "") + usd(amount);

// A fraction as per cent, e.g. 0.123 -> "12.3 %".
export function percent(fraction, digits = 1, signed = false) {
  if (fraction === null || fraction === undefined || !Number.isFinite(fraction)) return "–";
  const rounded = (fraction * 100).toFixed(digits);
  const zero = Number(rounded) === 0;
  const text = zero ? (0).toFixed(digits) : typographic(rounded);
  return `${signed && !zero && fraction > 0 ? "+" : ""}${text}\u202f%`;
}

export function ratio(value, digits = 2) {
  return value === null || !Number.isFinite(value) ? "–" : typographic(value.toFixed(digits));
}

export const dayLong = (day) => longDay.format(new Date(`${day}T00:00:00Z`));
export const dayShort = (day) => shortDay.format(new Date(`${day}T00:00:00Z`));
export const moment = (iso) => `${instant.format(new Date(iso))} UTC`;
export const short = (hash, length = 10) => (hash ? hash.slice(0, length) : "–");
export const tone = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");
export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`;

// el("td.num", {title: "x", onclick: f}, child, "text"): an element; text is never parsed as HTML.
export function el(spec, attributes = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  assign(node, attributes);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function assign(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else node.setAttribute(name, value === true ? "" : value);
  }
}

export const byId = (id) => document.getElementById(id);
export const fill = (id, ...children) => byId(id).replaceChildren(...children.flat().filter(Boolean));
