// Charts as SVG: lines over a number, points, parallel coordinates. Nothing here knows of trials.
// A drawing fills its element and is made anew at each call; text goes in as text, never as markup.

import { saveButton } from "./save.js";

const SVG = "http://www.w3.org/2000/svg";
const NEAR = 26; // pixels from the pointer to what it means

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "-";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(digits)));
}

// A state's mark, around (x, y): shape tells what colour tells.
export function mark(state, x, y, size = 4) {
  const s = size;
  const path = {
    failed: `M${x - s} ${y - s}L${x + s} ${y + s}M${x - s} ${y + s}L${x + s} ${y - s}`,
    stopped: `M${x - s * 0.85} ${y - s * 0.85}h${s * 1.7}v${s * 1.7}h${-s * 1.7}z`,
    running: `M${x} ${y - s * 1.2}L${x + s * 1.2} ${y}L${x} ${y + s * 1.2}L${x - s * 1.2} ${y}z`,
    waiting: `M${x} ${y - s}L${x + s} ${y + s * 0.8}H${x - s}z`,
    risen: `M${x} ${y - s}L${x + s} ${y + s * 0.8}H${x - s}z`,
    copy: `M${x} ${y - s}L${x + s} ${y}L${x} ${y + s}L${x - s} ${y}z`,
    lot: `M${x - s} ${y}H${x + s}M${x} ${y - s}V${y + s}`,
  }[state];
  const full = ["finished", "complete", "running", "risen"].includes(state) ? " full" : "";
  const beat = state === "running" ? " beat" : "";
  const name = `point ${state}${full}${beat}`;
  return path ? svg("path", { d: path, class: name }) : svg("circle", { cx: x, cy: y, r: s * 0.95, class: name });
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
  return found;
}

function logTicks(low, high, count) {
  const from = Math.floor(Math.log10(low));
  const to = Math.ceil(Math.log10(high));
  for (const digits of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = from; power <= to; power += 1) for (const d of digits) found.push(d * 10 ** power);
    const inside = found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
    if (inside.length <= count + 1 && inside.length >= 2) return inside;
    if (digits.length === 1 && inside.length) {
      const every = Math.ceil(inside.length / count);
      return inside.filter((_, k) => k % every === 0);
    }
  }
  return ticks(low, high, count).filter((v) => v >= low);
}

// Numbers in `values` onto pixels from..to; `room` is left free at both ends, as a share.
function scale(values, from, to, { log = false, room = 0.04, count = 6 } = {}) {
  const known = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  let low = known.length ? Math.min(...chunks(known, Math.min)) : 1;
  let high = known.length ? Math.max(...chunks(known, Math.max)) : 2;
  const turned = (v) => (log ? Math.log10(v) : v);
  if (low === high) [low, high] = log ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  const span = turned(high) - turned(low);
  const first = turned(low) - span * room;
  const whole = span * (1 + 2 * room);
  const at = (v) => from + ((turned(v) - first) / whole) * (to - from);
  const back = (u) => (log ? 10 ** u : u);
  at.ticks = (log ? logTicks : ticks)(back(first), back(first + whole), count);
  at.shows = (v) => Number.isFinite(v) && (!log || v > 0);
  return at;
}

// Spreading a long array into Math.min overflows the stack.
function chunks(values, best) {
  const found = [];
  for (let k = 0; k < values.length; k += 10000) found.push(best(...values.slice(k, k + 10000)));
  return found;
}

// Says that there is nothing to draw yet, in a line instead of an empty frame.
function blank(element, points) {
  const none = !points.some(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  element.classList.toggle("empty", none);
  if (none) element.replaceChildren("nothing to draw yet");
  return none;
}

function canvas(element, label) {
  const { width, height } = element.getBoundingClientRect();
  const drawing = svg("svg", { role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}` });
  element.replaceChildren(drawing, saveButton(drawing, label));
  return { drawing, width, height };
}

function frame(drawing, box, x, y, names) {
  for (const value of y.ticks) {
    drawing.append(
      svg("line", { x1: box.left, x2: box.right, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)),
    );
  }
  for (const value of x.ticks) {
    drawing.append(svg("text", { x: x(value), y: box.bottom + 16, "text-anchor": "middle" }, number(value)));
  }
  drawing.append(
    svg("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis" }),
    svg("text", { x: box.right, y: box.bottom + 32, "text-anchor": "end" }, names.x),
    svg("text", { x: box.left - 38, y: 11 }, names.y),
  );
}

function path(points, x, y) {
  const shown = points.filter(([a, b]) => x.shows(a) && y.shows(b));
  return shown.map(([a, b], k) => `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
}

// The nearest of `spots` ({x, y, id, text}) is told beside the pointer, and picked by a click.
function listen(drawing, spots, { tip, pick }) {
  const nearest = (event) => {
    const origin = drawing.getBoundingClientRect();
    const [px, py] = [event.clientX - origin.left, event.clientY - origin.top];
    let found = null;
    let least = NEAR * NEAR;
    for (const spot of spots) {
      const distance = (spot.x - px) ** 2 + (spot.y - py) ** 2;
      if (distance < least) [found, least] = [spot, distance];
    }
    return found;
  };
  drawing.addEventListener("pointermove", (event) => tip(nearest(event)?.text ?? null, event));
  drawing.addEventListener("pointerleave", (event) => tip(null, event));
  if (pick) drawing.addEventListener("click", (event) => { const spot = nearest(event); if (spot) pick(spot.id); });
}

// series: [{id, name, points: [[x, y]], className, end, label}]; marks: [{x, text}], vertical lines;
// events: [{id, x, y, state, name}], what happened on the way.
export function lines(element, { label, series, marks = [], events = [], x, y, tip, pick }) {
  if (blank(element, series.flatMap((s) => s.points))) return;
  const { drawing, width, height } = canvas(element, label);
  const box = { left: 46, right: width - (series.some((s) => s.label) ? 52 : 14), top: marks.length ? 44 : y.name ? 24 : 10, bottom: height - 38 };
  const all = series.flatMap((s) => s.points);
  const sx = scale([...all.map((p) => p[0]), ...marks.map((m) => m.x)], box.left, box.right, { ...x, room: 0.02, count: width / 70 });
  const sy = scale(all.map((p) => p[1]), box.bottom, box.top, { ...y, count: height / 45 });
  sx.ticks = x.ticks ?? (x.whole ? sx.ticks.filter(Number.isInteger) : sx.ticks);
  frame(drawing, box, sx, sy, { x: x.name, y: y.name });
  for (const { x: at, text } of marks) {
    drawing.append(
      svg("line", { x1: sx(at), x2: sx(at), y1: box.top, y2: box.bottom, class: "rung" }),
      svg("text", { x: sx(at), y: box.top - 8, "text-anchor": "middle" }, text),
    );
  }
  const spots = [];
  const above = [];
  for (const one of series) {
    drawing.append(svg("path", { d: path(one.points, sx, sy), class: `curve ${one.className}` }));
    for (const [a, b] of one.points) {
      if (sx.shows(a) && sy.shows(b)) spots.push({ x: sx(a), y: sy(b), id: one.id, text: `${one.name}\n${x.name} ${number(a)}: ${number(b)}` });
    }
    const [a, b] = one.points.findLast(([u, v]) => sx.shows(u) && sy.shows(v)) ?? [];
    if (a === undefined) continue;
    if (one.points.length === 1 && !one.end) above.push(svg("circle", { cx: sx(a), cy: sy(b), r: 2.5, class: `curve ${one.className}` }));
    if (one.end) above.push(mark(one.end, sx(a), sy(b), 3.6));
    if (one.label) above.push(svg("text", { x: sx(a) + 7, y: sy(b) + 4, class: "name" }, one.label));
  }
  for (const { id, x: a, y: b, state, name } of events.filter((e) => sx.shows(e.x) && sy.shows(e.y))) {
    above.push(mark(state, sx(a), sy(b), 4));
    spots.push({ x: sx(a), y: sy(b) - 1, id, text: name });
  }
  drawing.append(...above);
  listen(drawing, spots, { tip, pick });
}

// points: [{id, x, y, state, text, label, selected}]; trail, front: [[x, y]], lines below them, as
// are curves: [{points, className}].
export function scatter(element, { label, points, trail = [], front = [], curves = [], x, y, tip, pick }) {
  if (blank(element, points.map((p) => [p.x, p.y]))) return;
  const { drawing, width, height } = canvas(element, label);
  const box = { left: 46, right: width - 18, top: 22, bottom: height - 38 };
  const sx = scale([...points.map((p) => p.x), ...trail.map((p) => p[0]), ...curves.flatMap((c) => c.points.map((p) => p[0]))], box.left, box.right, { ...x, room: 0.07, count: width / 80 });
  const sy = scale([...points.map((p) => p.y), ...trail.map((p) => p[1]), ...curves.flatMap((c) => c.points.map((p) => p[1]))], box.bottom, box.top, { ...y, room: 0.07, count: height / 45 });
  frame(drawing, box, sx, sy, { x: x.name, y: y.name });
  drawing.append(...curves.map((c) => svg("path", { d: path(c.points, sx, sy), class: `curve ${c.className}` })));
  drawing.append(svg("path", { d: path(front, sx, sy), class: "curve front" }), svg("path", { d: path(trail, sx, sy), class: "curve selected" }));
  const spots = [];
  for (const point of points.filter((p) => sx.shows(p.x) && sy.shows(p.y))) {
    const [px, py] = [sx(point.x), sy(point.y)];
    if (point.selected) drawing.append(svg("circle", { cx: px, cy: py, r: 9, class: "halo" }));
    drawing.append(mark(point.state, px, py, 4.4));
    const left = px > width - 90;
    if (point.label) drawing.append(svg("text", { x: px + (left ? -9 : 9), y: py - 7, class: "name", "text-anchor": left ? "end" : "start" }, point.label));
    spots.push({ x: px, y: py, id: point.id, text: point.text });
  }
  listen(drawing, spots, { tip, pick });
}

// axes: [{label, low, high, log, zero, choices}]; rows: [{id, name, points, className}], in the order
// of drawing. A place below the numbers is for exactly 0, one below that for "not active".
export function parallel(element, { label, axes, rows, tip, pick }) {
  element.style.minWidth = `${axes.length * 58 + 90}px`;
  const { drawing, width, height } = canvas(element, label);
  const box = { left: 30, right: width - 78, top: 104, bottom: height - 56 };
  const [zero, absent] = [height - 32, height - 10];
  const step = (box.right - box.left) / Math.max(1, axes.length - 1);
  const places = axes.map((axis) => place(axis, box, zero, absent));
  const spots = [];
  const groups = rows.map((row) => {
    const points = row.points.map((value, k) => [box.left + k * step, places[k](value)]);
    const between = points.slice(1).map(([x, y], k) => ({ x: x - step / 2, y: (y + points[k][1]) / 2 }));
    spots.push(...[...points.map(([x, y]) => ({ x, y })), ...between].map((p) => ({ ...p, id: row.id, text: row.name })));
    return svg("path", { d: points.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""), class: `curve ${row.className}` });
  });
  const over = [];
  axes.forEach((axis, k) => {
    const x = box.left + k * step;
    drawing.append(svg("line", { x1: x, x2: x, y1: box.top, y2: box.bottom, class: "axis" }));
    over.push(svg("text", { x, y: box.top - 12, transform: `rotate(-38 ${x} ${box.top - 12})`, class: "name" }, axis.label));
    for (const [text, y] of places[k].ticks) over.push(svg("text", { x: x + 5, y: y + 4, class: "value" }, text));
  });
  over.push(svg("text", { x: 0, y: absent + 4 }, "off"));
  drawing.append(...groups, ...over);
  listen(drawing, spots, { tip, pick });
}

function place(axis, box, zero, absent) {
  if (axis.choices.length) {
    const gap = (box.bottom - box.top) / axis.choices.length;
    const middle = (k) => box.top + gap * (k + 0.5);
    const at = (value) => (value === null ? absent : middle(axis.choices.indexOf(value)));
    at.ticks = axis.choices.map((choice, k) => [choice, middle(k)]);
    return at;
  }
  const numbers = scale([axis.low, axis.high], box.bottom, box.top, { log: axis.log, room: 0 });
  const at = (value) => {
    if (value === null || !numbers.shows(value)) return value === 0 && axis.zero ? zero : absent;
    return value === 0 && axis.zero ? zero : numbers(value);
  };
  const digits = [2, 3, 4, 5, 6].find((n) => number(axis.high, n) !== number(axis.low, n)) ?? 7; // two ends, two labels
  at.ticks = [[number(axis.high, digits), box.top], [number(axis.low, digits), box.bottom], ...(axis.zero ? [["0", zero]] : [])];
  return at;
}
