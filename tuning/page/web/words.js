// Elements of the page and numbers as words. Everything that came from outside goes in as text.

import { mark, svg } from "./charts.js";

export const at = (id) => document.getElementById(id);

export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key === "cls" ? "class" : key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function icon(state) {
  return svg("svg", { class: `mark ${state}`, viewBox: "-6 -6 12 12", "aria-hidden": "true" }, mark(state, 0, 0, 4.4));
}

export function key(cls, text) {
  return el("span", { cls: "chip" }, svg("svg", { class: "swatch", viewBox: "0 0 22 8", "aria-hidden": "true" }, svg("path", { d: "M0 4H22", class: cls })), text);
}

export const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};
// A long name may go on in the next line behind its underscores.
export const breakable = (name) => name.split("_").flatMap((part, k) => (k ? ["_", document.createElement("wbr"), part] : [part]));
export const fixed = (value, places) => (value === null ? "-" : value.toFixed(places));
export const signed = (value, places) => (value < 0 ? "" : "+") + value.toFixed(places); // as the terminal prints it
export const moment = (time) => {
  const local = new Date(time * 1000 - new Date(time * 1000).getTimezoneOffset() * 60000);
  return local.toISOString().slice(0, 19).replace("T", " ");
};
export const hours = (value) => (value < 1 ? `${(value * 60).toFixed(value < 0.1 ? 1 : 0)} min` : `${value.toFixed(value < 100 ? 1 : 0)} h`);

// A part of the page beside the pointer.
export function tip(text, event) {
  at("tip").hidden = text === null;
  if (text === null) return;
  at("tip").textContent = text;
  const box = at("tip").getBoundingClientRect();
  at("tip").style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  at("tip").style.top = `${Math.max(4, event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18)}px`;
}
