// Several experiments in one report.

import { lines, number } from "./charts.js";
import { embedded } from "./source.js";
import { at, el, key, moment, tip } from "./words.js";

const HEADS = ["experiment", "state", "trials", "best", "prior", "hours", "searched by"];

function draw() {
  const { compared: data, written } = embedded;
  at("live").textContent = `report of ${moment(written)}`;
  at("warnings").replaceChildren(...data.warnings.map((text) => el("p", { cls: "problem" }, text)));
  rows("table", HEADS, data.experiments.map((one) => one.cells));
  at("answers").replaceChildren(...data.experiments.flatMap((one) => [el("h3", {}, one.name), el("ul", { cls: "answer" }, ...(one.answer.length ? one.answer : ["no trial has a score yet"]).map((text) => el("li", {}, text)))]));
  rows("parameters", ["parameter", ...data.names], data.parameters.map((one) => [one.path, ...one.best]));
  at("differs").replaceChildren(...data.differs.flatMap(({ name, against, changes }) => [el("h3", {}, `${name}, from ${against}`),
    changes.length ? el("ul", {}, ...changes.map(([text, breaks]) => el("li", {}, breaks ? el("b", {}, text) : text))) : el("p", { cls: "empty" }, "nothing")]));
  incumbents(data);
}

function rows(id, heads, cells) {
  at(id).tHead.replaceChildren(el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text))));
  at(id).tBodies[0].replaceChildren(...cells.map((row) => el("tr", {}, ...row.map((text) => el("td", {}, text)))));
}

function incumbents({ experiments, metric, unit }) {
  const known = experiments.filter((one) => one.steps.length);
  if (metric === null || !known.length) {
    at("incumbent").replaceChildren(el("p", { cls: "empty" }, metric === null ? "Their objectives differ: one axis cannot hold their scores." : "No experiment has a score yet."));
    return;
  }
  lines(at("incumbent"), {
    label: `best ${metric} so far over ${unit} hours of ${known.map((one) => one.name).join(", ")}`,
    series: known.map(({ name, steps, spent }, k) => {
      const points = steps.flatMap(([x, y], n) => [...(n ? [[x, steps[n - 1][1]]] : []), [x, y]]);
      return { id: k, name, points: [...points, [Math.max(spent, points.at(-1)[0]), points.at(-1)[1]]], className: `l${(k % 5) + 1}` };
    }),
    events: known.flatMap(({ name, steps }, k) => steps.map(([x, y, trial]) => ({ id: k, x, y, state: "finished", name: `${name}, trial ${trial}\n${metric} ${number(y)}` }))),
    x: { name: `${unit} hours` }, y: { name: metric }, tip,
  });
  at("legend").replaceChildren(...known.map((one, k) => key(`curve l${(k % 5) + 1}`, `${one.name}, epoch ${one.epoch}`)));
}

let width = 0;
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width !== width) requestAnimationFrame(draw);
  width = contentRect.width;
}).observe(document.querySelector("main"));
draw();
