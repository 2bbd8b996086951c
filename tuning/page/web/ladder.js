// Ladders: the curve of each config, the BD-rate between them, and the difference in rate at every lmbda.

import { lines, number } from "./charts.js";
import { at, el, fixed, key, signed, tip } from "./words.js";
import { view } from "./view.js";

const METRICS = { psnr: ["psnr-rgb", "PSNR, dB"], ms_ssim_db: ["ms-ssim-rgb-db", "MS-SSIM, dB"] };

export function ladders() {
  const found = view.analysis.ladders;
  at("ladders-card").hidden = !found.length;
  if (!found.length) return;
  const charts = [];
  at("ladders").replaceChildren(...found.flatMap(({ name, verdict, nothing }, n) => [el("h3", {}, name), ...(verdict ? verdict.sets.map((one, k) => set(one, `ladder-${n}-${k}`, charts)) : [el("p", { cls: "empty" }, nothing)])]));
  for (const draw of charts) draw();
}

function set(one, id, charts) {
  const parts = one.metrics.flatMap((metric, k) => {
    charts.push(() => curves(at(`${id}-${k}`), one, metric));
    return [el("div", { cls: "columns two" }, el("div", {}, el("div", { id: `${id}-${k}`, cls: "chart tall" }), el("p", { cls: "legend" }, ...one.curves.map((curve, c) => key(`curve l${(c % 5) + 1}`, curve.name)))), el("div", {}, ...verdict(metric)))];
  });
  return el("div", { cls: "ladder" }, el("p", {}, el("b", {}, one.dataset ?? one.folder), one.conditions ? `, ${one.conditions.images} images, ${one.conditions.rate} rate` : ""), ...parts,
    ...(one.curves.length ? [] : [el("p", { cls: "empty" }, "No lmbda has a scored run of every config and seed.")]),
    ...(one.left_out.length ? [el("details", {}, el("summary", {}, `${one.left_out.length} runs are in no curve`), el("ul", {}, ...one.left_out.map((text) => el("li", {}, text))))] : []));
}

function verdict(metric) {
  const result = metric.bd_rate === null ? [el("p", { cls: "note" }, `No BD-rate: ${metric.refused}. To do: ${metric.advice}.`)]
    : [el("p", { cls: "bd" }, el("b", {}, metric.text), ` of ${metric.test} against ${metric.anchor} (${METRICS[metric.metric][1]})`),
      el("p", { cls: "note" }, metric.interval ? `95 % interval over ${metric.basis}` : `no interval: ${metric.no_interval}`)];
  const rows = metric.differences.map((one) => el("tr", {}, el("td", {}, one.label), el("td", { cls: "number" }, fixed(one.quality, 2)),
    el("td", { cls: "number" }, one.percent === null ? "out of reach" : `${signed(one.percent, 2)} %${range(one.interval)}${one.extended ? ", beyond the anchor" : ""}`)));
  const heads = ["", "dB", "rate difference at equal quality"].map((text, k) => el("th", { scope: "col", cls: k ? "number" : "" }, text));
  const table = rows.length ? [el("div", { cls: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)))] : [];
  return [...result, ...table, ...(metric.sign_change ? [el("p", { cls: "note edge" }, metric.sign_change)] : [])];
}

function curves(element, one, metric) {
  const [field, name] = METRICS[metric.metric];
  lines(element, {
    label: `rate and ${name} on ${one.dataset}: ${one.curves.map((curve) => curve.name).join(", ")}`,
    series: one.curves.map((curve, k) => ({ id: k, name: curve.name, points: curve.results.bpp.map((rate, n) => [rate, (curve.results[field] ?? [])[n]]), className: `l${(k % 5) + 1}` })),
    events: one.curves.flatMap((curve) => curve.results.bpp.map((rate, n) => ({ id: n, x: rate, y: (curve.results[field] ?? [])[n], state: "finished", name: `${curve.name}, lmbda ${number(curve.points[n]?.lmbda ?? NaN)}\n${number(rate)} bpp, ${number(curve.results[field]?.[n] ?? NaN)} dB` }))),
    x: { name: "bits per pixel" }, y: { name }, tip,
  });
}

const range = (interval) => (interval ? ` [${interval.map((value) => signed(value, 2)).join(", ")}]` : "");
