// The experiment as a whole: the answer, what it cost, what decides, and how far it can be believed.

import { lines, number } from "./charts.js";
import { effects, importance } from "./effects.js";
import { ladders } from "./ladder.js";
import { ask } from "./source.js";
import { groupChart } from "./trial.js";
import { at, el, hours, key, tip } from "./words.js";
import { view } from "./view.js";

const EVERY = 60000; // milliseconds between two analyses of a running experiment
const GROUPS = [["weights", "Task weights"], ["gamma", "Gammas"], ["scale_contrib", "Share of each scale"]];
let asked = 0;
let known = ""; // how the experiment stood

// Asks again if the experiment has changed: seldom while it runs, at once when its state is another.
// Gives whether there is something new to draw.
export async function analyse() {
  const state = `${view.data.state} ${view.data.updated}`;
  if (state === known || (view.data.state === "running" && known.startsWith("running") && Date.now() - asked < EVERY)) return false;
  [asked, known] = [Date.now(), state];
  const answer = await ask("api/analysis").catch(() => null);
  if (!answer?.ok) return false;
  view.analysis = await answer.json();
  const shown = await ask("api/pictures").catch(() => null);
  if (shown?.ok) view.pictures = await shown.json();
  return true;
}

export function drawAnalysis() {
  if (!view.analysis) return;
  for (const card of document.querySelectorAll(".ranked")) card.hidden = !view.data.ranks;
  answer();
  ladders();
  if (view.data.ranks) {
    incumbent();
    importance();
    effects();
    balance();
  }
  health();
}

function answer() {
  const { answer: sentences, configs, edges } = view.analysis;
  const ranks = configs.length > 0;
  at("answer").hidden = false;
  at("answer-lines").replaceChildren(...sentences.map((line) => el("li", {}, line)), ...edges.map((line) => el("li", { cls: "edge" }, line)));
  const best = view.data.best;
  const name = best ? (best.trial === 0 ? "best: the prior" : `best: trial ${best.trial}`) : "best";
  at("configs").hidden = !ranks;
  at("configs").tHead.replaceChildren(el("tr", {}, ...["parameter", "prior", name].map((text) => el("th", { scope: "col" }, text))));
  at("configs").tBodies[0].replaceChildren(...configs.map(({ path, prior, best: found }) => el("tr", { cls: "pair" }, el("td", {}, path),
    el("td", {}, prior ?? "off"), el("td", {}, prior === found ? found ?? "off" : el("b", {}, found ?? (best ? "off" : "-"))))));
}

function incumbent() {
  const { epoch, steps, spent } = view.analysis.incumbent;
  const { metric, unit } = view.data;
  at("incumbent-note").textContent = epoch === null ? "" : `at epoch ${epoch}, over the ${unit} time of all runs`;
  if (!steps.length) {
    at("incumbent").replaceChildren(el("p", { cls: "empty" }, "No trial has a score at the end of a rung yet."));
    return;
  }
  const points = steps.flatMap(([x, y], k) => [...(k ? [[x, steps[k - 1][1]]] : []), [x, y]]);
  points.push([Math.max(spent, points.at(-1)[0]), points.at(-1)[1]]);
  lines(at("incumbent"), {
    label: `best ${metric} so far over ${unit} hours; the last is ${number(steps.at(-1)[1])} of trial ${steps.at(-1)[2]}`,
    series: [{ id: steps.at(-1)[2], name: "best so far", points, className: "l1", label: String(steps.at(-1)[2]) }],
    events: steps.map(([x, y, trial]) => ({ id: trial, x, y, state: "risen", name: `trial ${trial}\n${metric} ${number(y)} after ${hours(x)}` })),
    x: { name: `${unit} hours` }, y: { name: metric }, tip, pick: view.select,
  });
}

function balance() {
  const rows = view.analysis.balance.filter(({ groups }) => GROUPS.some(([group]) => Object.keys(groups[group]).length));
  at("balance-card").hidden = !rows.length;
  if (!rows.length) return;
  at("balance").replaceChildren(...rows.flatMap(({ name, trial }) => GROUPS.map(([group, title]) => el("div", {},
    el("h3", {}, `${title}: ${name}${name === "best" ? `, trial ${trial}` : ""}`), el("div", { id: `balance-${name}-${group}`, cls: "chart low" })))));
  for (const { name, groups } of rows) for (const [group] of GROUPS) groupChart(`balance-${name}-${group}`, groups[group], group === "gamma");
}

function health() {
  const { health: parts, export: header } = view.analysis;
  for (const part of ["cost", "trouble", "record"]) {
    at(`health-${part}`).tBodies[0].replaceChildren(...parts[part].map(([name, text]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, text))));
  }
  at("export-card").hidden = !header.length;
  at("export").textContent = header.join("\n");
}

// The reference curve beside the trials, if it is in bits per pixel and PSNR.
export function referenceCurve() {
  const found = view.analysis?.reference;
  if (!found) return [];
  return [{ points: found.points.map(([rate, quality]) => [rate, quality]), className: "ink reference" }];
}

export function referenceKey() {
  const found = view.analysis?.reference;
  if (!found) return [];
  return found.points.length ? [key("curve ink reference", `the baseline, epoch ${found.epoch}`)] : [el("span", {}, found.reason ?? "")];
}
