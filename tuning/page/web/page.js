// The page of one experiment. It asks for the whole state again and again (an ETag makes that cheap),
// and draws it.

import { analyse, drawAnalysis, referenceCurve, referenceKey } from "./analysis.js";
import { lines, number, parallel, scatter, svg } from "./charts.js";
import { finalists } from "./confirm.js";
import { fidelity } from "./fidelity.js";
import { failures, rungs } from "./rungs.js";
import { filters, head, table } from "./table.js";
import { ask, embedded } from "./source.js";
import { pictures } from "./pictures.js";
import { panel } from "./trial.js";
import { at, breakable, clock, el, fixed, icon, key, moment, tip } from "./words.js";
import { byProgress, curveClass, describe, drawn, RAMP, ramp, relative, scored, STATES, view } from "./view.js";

const EVERY = { running: 3000, starting: 3000 }; // milliseconds between two looks
const ELSE = 15000;
const RISES = { "promoted later": "risen", control: "lot" };
const EVENTS = { risen: "promoted after waiting", lot: "went on by lot", copy: "became a changed copy of another" };
const MOST_EVENTS = 120;

function header() {
  const { data } = view;
  const count = Object.fromEntries(STATES.map((s) => [s, data.trials.filter((t) => t.state === s).length]));
  const ended = count.finished + count.stopped + count.failed;
  document.title = `${data.simulated ? "Simulated: " : ""}${data.state === "running" ? `${ended}/${data.budget.trials} ` : ""}${data.name}`;
  at("name").textContent = data.name;
  at("simulated").hidden = !data.simulated;
  at("simulated").textContent = `Simulated on ${data.simulated}: no trial was trained`;
  at("question").textContent = data.question;
  at("state").className = `state ${data.state}`;
  at("state").title = data.sentence;
  at("state").replaceChildren(icon(data.state), data.state);
  document.body.classList.toggle("many", data.trials.length > 200);
  at("bar").style.width = `${Math.min(100, (100 * ended) / data.budget.trials)}%`;
  const best = data.best;
  const trials = STATES.filter((s) => count[s]).map((s) => `${count[s]} ${s}`).join(", ");
  const sessions = `in ${data.sessions} session${data.sessions === 1 ? "" : "s"}`;
  const limit = data.budget.hours ? `${sessions}; budget.hours ends it after ${data.budget.hours} h` : sessions;
  const [main, ...others] = best?.rows ?? [{ name: data.metric, best: "-", prior: "-", difference: "" }];
  const difference = relative(data.trials.find((t) => t.number === best?.trial));
  if (data.ranks) fact("best", `Best ${main.name}`, main.best, best ? `trial ${best.trial} at epoch ${best.epochs}` : data.constraints && data.trials.some((t) => !t.feasible) ? `none keeps ${data.constraints}` : "no result yet");
  if (data.ranks) fact("against", "Against the prior", best?.trial === 0 ? "is the prior" : difference || "-", main.prior === "-" ? "" : `${main.prior} at the same epoch`);
  for (const row of others) fact(row.name, `${row.name} of the best`, row.best, row.prior === "-" ? "" : `prior ${row.prior}`);
  fact("trials", "Trials", `${ended} / ${data.budget.trials}`, trials);
  fact("spent", "Spent", data.hours.spent, [data.hours.counted, data.hours.saved && `stopping saved ${data.hours.saved}`].filter(Boolean).join("; "));
  fact("time", "Time", clock(data.elapsed), limit);
  fact("space", "Space", breakable(data.space), `${data.profile}, ${data.searcher}, ${data.scheduler}`);
  at("footer").textContent = `${data.sentence}. Newest entry ${data.updated ? moment(data.updated) : "none"}. Read from the ledger of the experiment; nothing is written.`;
}

function fact(id, name, value, more) {
  const found = [...at("facts").children].find((box) => box.dataset.id === id);
  const box = found ?? at("facts").appendChild(el("div", { "data-id": id }, el("dt", {}), el("dd", {})));
  box.firstChild.textContent = name;
  const words = [value].flat().map((part) => part.textContent ?? part).join("").split(/[\s_-]/);
  box.classList.toggle("long", words.some((word) => word.length > 9));
  box.lastChild.replaceChildren(...[value].flat(), el("small", {}, more));
}

function curves(colours) {
  const { data } = view;
  const values = data.trials.flatMap((t) => t.curve.map((p) => p[1])).filter((v) => v !== null);
  const possible = values.length > 0 && values.every((v) => v > 0);
  const logY = possible && view.logY;
  at("log-y").disabled = !possible;
  at("log-y").checked = logY;
  const events = promotions();
  lines(at("curves"), {
    label: `${data.metric} of every trial over epochs; the table of trials holds the last values`,
    series: drawn().filter((t) => t.curve.length).map((trial) => ({
      id: trial.number, name: describe(trial), points: trial.curve, className: curveClass(trial, colours), end: trial.state,
      label: trial.number === data.best?.trial || trial.number === view.selected ? String(trial.number) : trial.number === 0 && data.ranks ? "prior" : null,
    })),
    marks: data.levels.map((x, k) => ({ x, text: k + 1 === data.levels.length ? "end" : `rung ${k + 1}` })),
    x: { name: "epoch", whole: true, log: at("log-x").checked, ticks: data.levels.length > 1 && at("log-x").checked ? data.levels : null },
    y: { name: data.metric, log: logY },
    events, tip, pick: select,
  });
  const kinds = Object.entries(EVENTS).filter(([state]) => events.some((e) => e.state === state));
  at("curves-legend").replaceChildren(...STATES.filter((s) => data.trials.some((t) => t.state === s)).map((s) => el("span", { cls: `chip ${s}` }, icon(s), s)),
    ...kinds.map(([state, text]) => el("span", { cls: `chip ${state}` }, icon(state), text)), key("curve prior ink", "the prior"), ...rampKey());
}

// Where trials went on that had lost or waited before, or copied another; of very many, those of
// the selected one.
function promotions() {
  const copies = view.data.trials.flatMap((trial) => trial.copies.map(([epoch, donor]) => ({
    id: trial.number, x: epoch, y: trial.curve.findLast(([e]) => e <= epoch)?.[1], state: "copy", name: `trial ${trial.number}\ncopied trial ${donor} at epoch ${epoch}`,
  })));
  const rises = view.data.rungs.flatMap((rung) => rung.entries.filter((e) => e.fate in RISES).map((e) => ({
    id: e.trial, x: rung.epoch, y: e.value, state: RISES[e.fate],
    name: `trial ${e.trial}\n${EVENTS[RISES[e.fate]]} at epoch ${rung.epoch}, rank ${e.rank} of ${e.peers}`,
  })));
  const all = [...copies, ...rises];
  return all.length <= MOST_EVENTS ? all : all.filter((e) => e.id === view.selected);
}

function rampKey() {
  const bars = Array.from({ length: RAMP }, (_, k) => svg("path", { d: `M${k * 8} 4h7`, class: `r${k}`, "stroke-width": 5 }));
  const strip = svg("svg", { viewBox: "0 0 56 8", width: 56, height: 8, "aria-hidden": "true" }, ...bars);
  return [el("span", { cls: "chip" }, "best", strip, "worst", ` ${view.data.metric}, at equal epochs`)];
}

function rates() {
  const { data } = view;
  const front = data.front.map((n) => data.trials.find((t) => t.number === n));
  scatter(at("rates"), {
    label: "bits per pixel against PSNR of every trial at its last epoch",
    points: drawn().filter((t) => t.bpp !== null && t.psnr !== null).map((trial) => ({
      id: trial.number, x: trial.bpp, y: trial.psnr, state: trial.state, selected: trial.number === view.selected,
      text: `${describe(trial)}\n${number(trial.bpp)} bpp, ${fixed(trial.psnr, 2)} dB`,
      label: trial.number === data.best?.trial ? `${trial.number}, best` : trial.number === 0 && data.ranks ? "prior" : null,
    })),
    front: front.map((t) => [t.bpp, t.psnr]).sort((a, b) => a[0] - b[0]), curves: referenceCurve(),
    trail: view.trial?.path ?? [], x: { name: "bits per pixel" }, y: { name: "PSNR, dB" }, tip, pick: select,
  });
  at("rates-legend").replaceChildren(
    el("span", {}, "each trial at its last epoch; the line follows the selected trial"),
    ...referenceKey(),
    ...(data.pareto.length ? [key("curve front", `front in ${data.pareto.join(" and ")}, of ${front.length}`)] : []),
    ...(data.constraints ? [el("span", {}, `bounds: ${data.constraints}`)] : []),
  );
}

function coordinates(colours) {
  const { data } = view;
  const known = data.trials.filter(scored).map((t) => t.objective);
  const positive = known.length > 0 && known.every((v) => v > 0);
  const [low, high] = known.length ? [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))] : [0, 1];
  const span = low === high ? [low - Math.abs(low || 1) / 10, high + Math.abs(high || 1) / 10] : [low, high];
  parallel(at("parallel"), {
    label: "parallel coordinates: every trial's parameters and its last objective",
    axes: [...data.axes, { label: data.metric, low: span[0], high: span[1], log: positive && high / low > 10, zero: false, choices: [] }],
    rows: drawn().map((trial) => ({ id: trial.number, name: describe(trial), points: [...trial.points, trial.objective], className: curveClass(trial, colours) })),
    tip, pick: select,
  });
  at("ramp").replaceChildren(...rampKey(), key("curve prior ink", "the prior"), el("span", {}, "off: not active in the trial"));
}

// --- the selected trial --------------------------------------------------------------------------

view.select = select;

async function select(trial, event) {
  const again = view.selected === trial && !event?.target?.closest?.("#rungs");
  view.selected = again ? null : trial;
  view.trial = null;
  at("trial-log").open = false;
  history.replaceState(null, "", again ? location.pathname + location.search : `#trial-${trial}`);
  draw();
  await details();
}

async function details() {
  const wanted = view.selected;
  if (wanted === null) { at("trial").hidden = true; return; }
  const answer = await ask(`api/trials/${wanted}`).catch(() => null);
  if (!answer?.ok || wanted !== view.selected) return;
  view.trial = await answer.json();
  panel();
  rates();
}

// --- telling, asking -----------------------------------------------------------------------------

function draw() {
  if (!view.data) return;
  const colours = ramp();
  header();
  curves(colours);
  rates();
  filters();
  table();
  finalists();
  references();
  coordinates(colours);
  fidelity();
  rungs();
  failures();
  if (view.trial) panel();
  drawAnalysis();
  pictures();
}

// Which there are, and where they make no curve: the trials have no score there.
function references() {
  const lines = view.data.references;
  at("references").hidden = !lines.length;
  at("references").querySelector("ul").replaceChildren(...lines.map((line) => el("li", {}, line)));
}

function problem(text) {
  at("problem").hidden = text === null;
  if (text !== null && at("problem").textContent !== text) at("problem").textContent = text;
}

let known = null; // the ETag of what is drawn

async function look() {
  try {
    const answer = await ask("api/experiment", { headers: known ? { "If-None-Match": known } : {}, cache: "no-store" });
    if (answer.status === 200) {
      view.data = await answer.json();
      known = answer.headers.get("ETag");
      if (!at("leaderboard").tHead.rows[0].cells.length) head();
      draw();
      await details();
    }
    if (view.data && (await analyse())) draw();
    problem(answer.status === 200 || answer.status === 304 ? null : (await answer.json()).error ?? answer.statusText);
    view.seen = Date.now();
  } catch (error) {
    if (!(error instanceof TypeError) || view.data === null) console.error(error);
    problem("The page's server does not answer; what is shown is the last that was heard.");
  }
  if (!embedded) setTimeout(look, document.hidden ? ELSE : EVERY[view.data?.state] ?? ELSE);
}

function live() {
  const ago = Math.round((Date.now() - view.seen) / 1000);
  at("live").textContent = embedded ? `report of ${moment(embedded.written)}` : view.seen ? (ago < 2 ? "up to date" : `looked ${ago} s ago`) : "";
}

at("log-x").addEventListener("change", draw);
at("log-y").addEventListener("change", () => { view.logY = at("log-y").checked; draw(); });
at("more").addEventListener("click", () => { view.all = true; table(); });
at("close").addEventListener("click", () => select(view.selected));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && view.selected !== null) select(view.selected); });
let width = 0;
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width !== width) requestAnimationFrame(draw);
  width = contentRect.width;
}).observe(document.querySelector("main"));
live();
setInterval(live, 1000);
const asked = /^#trial-(\d+)$/.exec(location.hash);
if (asked) view.selected = Number(asked[1]);
look();
