// The selected trial: its balancer over epochs, its parameters, its history and its log.

import { lines } from "./charts.js";
import { logOf } from "./rungs.js";
import { at, el, key, moment, tip } from "./words.js";
import { score, view } from "./view.js";

export function panel() {
  const { trial } = view;
  const record = view.data.trials.find((t) => t.number === trial.number);
  at("trial").hidden = false;
  at("h-trial").textContent = `Trial ${trial.number}`;
  at("trial-note").textContent = [record.state, `epoch ${record.epochs}`, `${view.data.metric} ${score(record.objective)}`, record.reason].filter(Boolean).join(", ");
  for (const [id, group] of [["weights", "weights"], ["gammas", "gamma"], ["shares", "scale_contrib"]]) groupChart(id, trial.groups[group], id === "gammas");
  const both = trial.number !== 0;
  at("parameters").tHead.replaceChildren(el("tr", {}, ...["parameter", `trial ${trial.number}`, ...(both ? ["prior"] : [])].map((text) => el("th", { scope: "col" }, text))));
  at("parameters").tBodies[0].replaceChildren(...trial.parameters.map((p) => el("tr", { cls: "pair" }, el("td", {}, p.path),
    el("td", {}, p.value === p.prior ? p.value ?? "off" : el("b", {}, p.value ?? "off")), ...(both ? [el("td", {}, p.prior ?? "off")] : []))));
  at("history").replaceChildren(...trial.history.map((line) => el("li", {}, el("time", {}, moment(line.time)), el("span", {}, line.event), el("span", {}, line.text))));
  logOf(trial.number, at("trial-log"));
}

// The curves of one group of a trial's metrics, and their legend.
export function groupChart(id, group, gammas) {
  const names = Object.keys(group);
  at(id).nextElementSibling?.remove();
  at(id).classList.toggle("empty", !names.length);
  if (!names.length) { at(id).replaceChildren("This balancer has none."); return; }
  const values = names.flatMap((name) => group[name].map((p) => p[1])).filter((v) => v > 0);
  const log = gammas && values.length > 0;
  lines(at(id), {
    label: `${id} over epochs: ${names.join(", ")}`, x: { name: "epoch", whole: true }, y: { name: "", log }, tip,
    series: names.map((name, k) => ({ id: k, name, points: group[name], className: `l${(k % 5) + 1}` })),
  });
  at(id).after(el("p", { cls: "legend" }, ...names.map((name, k) => key(`curve l${(k % 5) + 1}`, name))));
}
