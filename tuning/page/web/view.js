// What is known of the experiment and of its trials, and what is selected.

import { number } from "./charts.js";
import { signed } from "./words.js";

export const RAMP = 7;
export const STATES = ["running", "finished", "stopped", "waiting", "pending", "failed"];
export const view = { data: null, trial: null, analysis: null, pictures: null, selected: null, sort: ["progress", 1], hidden: new Set(), all: false, allFailures: false, logY: true, seen: 0, select: null };

export const better = (a, b) => (view.data.mode === "min" ? a - b : b - a);
export const scored = (trial) => trial.objective !== null;

// Running trials first, then those that went furthest, failed ones last.
export function byProgress(a, b) {
  const order = (t) => (t.state === "running" ? 0 : t.state === "failed" ? 3 : t.epochs ? 1 : 2);
  if (order(a) !== order(b)) return order(a) - order(b);
  if (a.state === "running") return a.number - b.number;
  if (a.epochs !== b.epochs) return b.epochs - a.epochs;
  return scored(a) && scored(b) ? better(a.objective, b.objective) : Number(scored(b)) - Number(scored(a));
}

// By trial: its place between the best (r0) and the worst (r6), compared at equal epochs.
export function ramp() {
  const ranked = view.data.trials.filter((trial) => trial.place !== null);
  const last = Math.max(1, ranked.length - 1);
  return new Map(ranked.map((trial) => [trial.number, `r${Math.min(RAMP - 1, Math.floor((trial.place / last) * RAMP))}`]));
}

// The objective's value; a difference with its sign.
export const score = (value, digits, sign = view.data.signed) => (sign && value > 0 ? "+" : "") + number(value, digits);

// How far a trial is from the prior.
export const relative = (trial) => (trial?.relative == null ? "" : `${signed(trial.relative, view.data.relative === "%" && !view.data.signed ? 1 : 2)} ${view.data.relative}`);

export function describe(trial) {
  const { metric } = view.data;
  const parts = [`trial ${trial.number}${trial.number === 0 ? ", the prior" : ""}, ${trial.state}, epoch ${trial.epochs}`];
  if (scored(trial)) parts.push(`${metric} ${score(trial.objective)}`);
  return parts.concat(trial.differs.slice(0, 6).map(([label, value]) => `${label} ${value}`)).join("\n");
}

export function curveClass(trial, colours) {
  const best = view.data.best?.trial === trial.number ? " best" : "";
  return `${colours.get(trial.number) ?? "none"}${trial.number === 0 ? " prior" : ""}${best}${view.selected === trial.number ? " selected" : ""}`;
}

// In the order of drawing: good ones over bad ones, then the prior, the best, the selected one.
export function drawn() {
  const weight = (t) => (t.number === view.selected ? 3 : t.number === view.data.best?.trial ? 2 : t.number === 0 ? 1 : 0);
  return [...view.data.trials].sort((a, b) => weight(a) - weight(b) || byProgress(b, a));
}
