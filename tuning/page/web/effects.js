// What each parameter does to the score: its share of what decides, and every trial over its values.

import { mark, number, scatter, svg } from "./charts.js";
import { at, el, fixed, tip } from "./words.js";
import { view } from "./view.js";
import { saveButton } from "./save.js";

const BAR = 160; // pixels of a whole share
const ROW = 26; // pixels of a choice

export function importance() {
  const { rows, note, nothing } = view.analysis.importance;
  at("importance-note").textContent = nothing ? "" : note;
  if (nothing) {
    at("importance").replaceChildren(el("p", { cls: "empty" }, nothing));
    return;
  }
  at("importance").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...["parameter", "share of what decides", "", "trials"].map((text, k) => el("th", { scope: "col", cls: k > 1 ? "number" : "" }, text)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, el("td", {}, row.path), el("td", {}, bar(row)),
      el("td", { cls: "number" }, fixed(row.share, 2)), el("td", { cls: "number" }, row.conditional ? `${row.trials}, where active` : String(row.trials)))))));
}

function bar({ share, interval: [low, high], path }) {
  const x = (value) => 2 + value * BAR;
  return svg("svg", { class: "bar", viewBox: `0 0 ${BAR + 4} 12`, width: BAR + 4, height: 12, role: "img", "aria-label": `${path}: ${fixed(share, 2)}, from ${fixed(low, 2)} to ${fixed(high, 2)}` },
    svg("rect", { x: x(0), y: 2, width: Math.max(1, share * BAR), height: 8, class: "share" }),
    svg("path", { d: `M${x(low)} 6H${x(high)}M${x(low)} 3V9M${x(high)} 3V9`, class: "span" }));
}

export function effects() {
  const { panels, epoch, trials, nothing } = view.analysis.effects;
  at("effects-note").textContent = epoch === null ? "" : `${trials} trials at epoch ${epoch}; the dashed line joins medians of equal groups`;
  if (!panels.length) {
    at("effects").replaceChildren(el("p", { cls: "empty" }, nothing || "No parameter has two values among these trials."));
    return;
  }
  at("effects").replaceChildren(...panels.map(({ axis }, k) => el("div", {}, el("h3", {}, axis.path), el("div", { id: `effect-${k}`, cls: axis.choices.length ? "chart strips" : "chart low" }))));
  panels.forEach((panel, k) => (panel.axis.choices.length ? strips : numbers)(at(`effect-${k}`), panel));
}

function numbers(element, { axis, points, trend }) {
  const state = new Map(view.data.trials.map((t) => [t.number, t.state]));
  scatter(element, {
    label: `${view.data.metric} over ${axis.path}`,
    points: points.map(([x, y, trial]) => ({ id: trial, x: axis.log && x === 0 ? axis.low : x, y, state: state.get(trial), selected: trial === view.data.best?.trial,
      text: `trial ${trial}\n${axis.label} ${number(x)}\n${view.data.metric} ${number(y)}`, label: trial === view.data.best?.trial ? "best" : trial === 0 ? "prior" : null })),
    front: trend, x: { name: axis.label, log: axis.log }, y: { name: view.data.metric }, tip, pick: view.select,
  });
}

// A row per choice: each trial's score as a mark, the median as a stroke.
function strips(element, { axis, points, choices }) {
  const scores = points.map(([, y]) => y);
  const [low, high] = [scores.reduce((a, b) => Math.min(a, b)), scores.reduce((a, b) => Math.max(a, b))];
  const rows = axis.choices.filter((choice) => choices.some((c) => c.choice === choice));
  const [width, height] = [element.getBoundingClientRect().width, rows.length * ROW + 34];
  element.style.height = `${height}px`;
  const left = 10 + 6.5 * Math.max(...rows.map((choice) => choice.length));
  const x = (value) => left + 8 + (high === low ? 0.5 : (value - low) / (high - low)) * (width - left - 24);
  const label = `${view.data.metric} by ${axis.path}: ${choices.map((c) => `${c.choice} ${number(c.median)} in the median of ${c.trials}`).join(", ")}`;
  const drawing = svg("svg", { role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}` });
  rows.forEach((choice, k) => {
    const [y, found] = [ROW * (k + 0.5) + 4, choices.find((c) => c.choice === choice)];
    drawing.append(svg("text", { x: left, y: y + 4, "text-anchor": "end", class: "name" }, choice), svg("line", { x1: left + 8, x2: width - 16, y1: y, y2: y, class: "grid" }));
    for (const [, score, trial] of points.filter(([place]) => place === choice)) drawing.append(mark(view.data.trials.find((t) => t.number === trial)?.state ?? "finished", x(score), y, 3.6));
    drawing.append(svg("path", { d: `M${x(found.median)} ${y - 9}V${y + 9}`, class: "median" }));
  });
  for (const value of high === low ? [low] : [low, high]) drawing.append(svg("text", { x: x(value), y: height - 16, "text-anchor": value === low ? "start" : "end" }, number(value)));
  drawing.append(svg("text", { x: width - 16, y: height - 2, "text-anchor": "end" }, view.data.metric));
  element.replaceChildren(drawing, saveButton(drawing, label));
}
