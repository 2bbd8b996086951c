// The page of one experiment. It asks for the whole state again and again (an ETag makes that cheap),
// and draws it. Everything that came from outside goes in as text.

import { lines, mark, number, parallel, scatter, svg } from "./charts.js";

const EVERY = { running: 3000, starting: 3000 }; // milliseconds between two looks
const ELSE = 15000;
const ROWS = 100; // trials in the table before "show all"
const RAMP = 7;
const STATES = ["running", "finished", "stopped", "waiting", "pending", "failed"];
const FATES = {
  promoted: ["went on", "running"], "promoted later": ["went on later", "running"], control: ["went on by lot", "running"],
  prior: ["went on, the prior", "running"], stopped: ["stopped here", "stopped"], waits: ["waits", "waiting"],
};

const at = (id) => document.getElementById(id);
const view = { data: null, trial: null, selected: null, sort: ["standing", 1], hidden: new Set(), all: false, problem: null, seen: 0 };

function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key === "cls" ? "class" : key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function icon(state) {
  return svg("svg", { class: `mark ${state}`, viewBox: "-6 -6 12 12", "aria-hidden": "true" }, mark(state, 0, 0, 4.4));
}

const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};
const fixed = (value, places) => (value === null ? "-" : value.toFixed(places));
const signed = (value, unit) => (value === null ? "" : `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(unit === "%" ? 1 : 2)} ${unit}`);
const moment = (time) => {
  const local = new Date(time * 1000 - new Date(time * 1000).getTimezoneOffset() * 60000);
  return local.toISOString().slice(0, 19).replace("T", " ");
};
const hours = (value) => (value < 1 ? `${(value * 60).toFixed(value < 0.1 ? 1 : 0)} min` : `${value.toFixed(value < 100 ? 1 : 0)} h`);
const better = (a, b) => (view.data.mode === "min" ? a - b : b - a);
const scored = (trial) => trial.objective !== null;

// --- what is known of all trials -----------------------------------------------------------------

function standing(a, b) {
  const order = (t) => (t.state === "running" ? 0 : t.state === "failed" ? 3 : t.epochs ? 1 : 2);
  if (order(a) !== order(b)) return order(a) - order(b);
  if (a.state === "running") return a.number - b.number;
  if (a.epochs !== b.epochs) return b.epochs - a.epochs;
  return scored(a) && scored(b) ? better(a.objective, b.objective) : Number(scored(b)) - Number(scored(a));
}

// By trial: its place between the best (r0) and the worst (r6) last objective.
function ramp() {
  const ranked = view.data.trials.filter(scored).sort((a, b) => better(a.objective, b.objective));
  const last = Math.max(1, ranked.length - 1);
  return new Map(ranked.map((trial, k) => [trial.number, `r${Math.min(RAMP - 1, Math.floor((k / last) * RAMP))}`]));
}

function told(trial) {
  const { metric } = view.data;
  const parts = [`trial ${trial.number}${trial.number === 0 ? ", the prior" : ""}, ${trial.state}, epoch ${trial.epochs}`];
  if (scored(trial)) parts.push(`${metric} ${number(trial.objective)}`);
  return parts.concat(trial.differs.slice(0, 6).map(([label, value]) => `${label} ${value}`)).join("\n");
}

function curveClass(trial, colours) {
  const best = view.data.best?.trial === trial.number ? " best" : "";
  return `${colours.get(trial.number) ?? "none"}${trial.number === 0 ? " prior" : ""}${best}${view.selected === trial.number ? " selected" : ""}`;
}

// In the order of drawing: good ones over bad ones, then the prior, the best, the selected one.
function drawn() {
  const weight = (t) => (t.number === view.selected ? 3 : t.number === view.data.best?.trial ? 2 : t.number === 0 ? 1 : 0);
  return [...view.data.trials].sort((a, b) => weight(a) - weight(b) || standing(b, a));
}

// --- drawing -------------------------------------------------------------------------------------

function header() {
  const { data } = view;
  const count = Object.fromEntries(STATES.map((s) => [s, data.trials.filter((t) => t.state === s).length]));
  const ended = count.finished + count.stopped + count.failed;
  document.title = `${data.state === "running" ? `${ended}/${data.budget.trials} ` : ""}${data.name}`;
  at("name").textContent = data.name;
  at("question").textContent = data.question;
  at("state").className = `state ${data.state}`;
  at("state").title = data.told;
  at("state").replaceChildren(icon(data.state), data.state);
  document.body.classList.toggle("many", data.trials.length > 200);
  at("bar").style.width = `${Math.min(100, (100 * ended) / data.budget.trials)}%`;
  const best = data.best;
  const trials = STATES.filter((s) => count[s]).map((s) => `${count[s]} ${s}`).join(", ");
  const limit = data.budget.hours ? `of at most ${data.budget.hours} h` : `${data.sessions} session${data.sessions === 1 ? "" : "s"}`;
  const [main, ...others] = best?.rows ?? [{ name: data.metric, best: null, prior: null, difference: "" }];
  const relative = data.trials.find((t) => t.number === best?.trial)?.relative ?? null;
  fact("best", `Best ${main.name}`, number(main.best), best ? `trial ${best.trial} at epoch ${best.epochs}` : "no result yet");
  fact("against", "Against the prior", best?.trial === 0 ? "is the prior" : signed(relative, data.relative) || "-", main.prior === null ? "" : `${number(main.prior)} at the same epoch`);
  for (const row of others) fact(row.name, `${row.name} of the best`, number(row.best), row.prior === null ? "" : `prior ${number(row.prior)}`);
  fact("trials", "Trials", `${ended} / ${data.budget.trials}`, trials);
  fact("spent", `${data.unit} time spent`, hours(data.hours.spent), data.hours.saved ? `${hours(data.hours.saved)} saved by stopping` : "nothing saved yet");
  fact("time", "Clock", clock(data.elapsed), limit);
  fact("space", "Space", data.space, `${data.profile}, ${data.searcher}, ${data.scheduler}`);
  at("footer").textContent = `${data.told}. Newest entry ${data.updated ? moment(data.updated) : "none"}. Read from the ledger of the experiment; nothing is written.`;
}

function fact(id, name, value, more) {
  const found = [...at("facts").children].find((box) => box.dataset.id === id);
  const box = found ?? at("facts").appendChild(el("div", { "data-id": id }, el("dt", {}), el("dd", {})));
  box.firstChild.textContent = name;
  box.lastChild.replaceChildren(value, el("small", {}, more));
}

function curves(colours) {
  const { data } = view;
  const values = data.trials.flatMap((t) => t.curve.map((p) => p[1])).filter((v) => v !== null);
  const logY = at("log-y").checked && values.length > 0 && values.every((v) => v > 0);
  lines(at("curves"), {
    label: `${data.metric} of every trial over epochs; the table of trials holds the last values`,
    series: drawn().filter((t) => t.curve.length).map((trial) => ({
      id: trial.number, name: told(trial), points: trial.curve, className: curveClass(trial, colours), end: trial.state,
      label: trial.number === data.best?.trial || trial.number === view.selected ? String(trial.number) : trial.number === 0 ? "prior" : null,
    })),
    marks: data.levels.map((x, k) => ({ x, text: k + 1 === data.levels.length ? "end" : `rung ${k + 1}` })),
    x: { name: "epoch", whole: true, log: at("log-x").checked, ticks: data.levels.length > 1 && at("log-x").checked ? data.levels : null },
    y: { name: data.metric, log: logY },
    tip, pick: select,
  });
  at("curves-legend").replaceChildren(...STATES.filter((s) => data.trials.some((t) => t.state === s)).map((s) => el("span", { cls: `chip ${s}` }, icon(s), s)), key("curve prior ink", "the prior"), ...rampKey());
}

function key(cls, text) {
  return el("span", { cls: "chip" }, svg("svg", { class: "swatch", viewBox: "0 0 22 8", "aria-hidden": "true" }, svg("path", { d: "M0 4H22", class: cls })), text);
}

function rampKey() {
  const bars = Array.from({ length: RAMP }, (_, k) => svg("path", { d: `M${k * 8} 4h7`, class: `r${k}`, "stroke-width": 5 }));
  const strip = svg("svg", { viewBox: "0 0 56 8", width: 56, height: 8, "aria-hidden": "true" }, ...bars);
  return [el("span", { cls: "chip" }, "best", strip, "worst", ` last ${view.data.metric}`)];
}

function rates() {
  const { data } = view;
  scatter(at("rates"), {
    label: "bits per pixel against PSNR of every trial at its last epoch",
    points: drawn().filter((t) => t.bpp !== null && t.psnr !== null).map((trial) => ({
      id: trial.number, x: trial.bpp, y: trial.psnr, state: trial.state, selected: trial.number === view.selected,
      text: `${told(trial)}\n${number(trial.bpp)} bpp, ${fixed(trial.psnr, 2)} dB`,
      label: trial.number === data.best?.trial ? `${trial.number}, best` : trial.number === 0 ? "prior" : null,
    })),
    trail: view.trial?.path ?? [], x: { name: "bits per pixel" }, y: { name: "PSNR, dB" }, tip, pick: select,
  });
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
    rows: drawn().map((trial) => ({ id: trial.number, name: told(trial), points: [...trial.points, trial.objective], className: curveClass(trial, colours) })),
    tip, pick: select,
  });
  at("ramp").replaceChildren(...rampKey(), key("curve prior ink", "the prior"), el("span", {}, "off: not active in the trial"));
}

// --- the table of trials -------------------------------------------------------------------------

const COLUMNS = [
  { key: "number", name: "trial", number: true },
  { key: "state", name: "state" },
  { key: "epochs", name: "epochs", number: true },
  { key: "objective", name: "objective", number: true },
  { key: "relative", name: "vs prior", number: true },
  { key: "bpp", name: "bpp", number: true },
  { key: "psnr", name: "PSNR", number: true },
  { key: "seconds", name: "time", number: true },
];

function head() {
  const row = at("leaderboard").tHead.rows[0];
  row.replaceChildren(...COLUMNS.map((column) => {
    const name = column.key === "objective" ? view.data.metric : column.name;
    const sorted = view.sort[0] === column.key ? (view.sort[1] > 0 ? "ascending" : "descending") : null;
    return el("th", { scope: "col", cls: column.number ? "number" : "", "aria-sort": sorted, "data-key": column.key }, el("button", { type: "button", onclick: () => sortBy(column.key) }, name));
  }), el("th", { scope: "col" }, "differs from the prior in"));
}

function sortBy(name) {
  const [old, direction] = view.sort;
  view.sort = old !== name ? [name, 1] : direction > 0 ? [name, -1] : ["standing", 1];
  head();
  table();
  at("leaderboard").querySelector(`th[data-key="${name}"] button`).focus();
}

function ordered() {
  const [name, direction] = view.sort;
  const shown = view.data.trials.filter((t) => !view.hidden.has(t.state));
  if (name === "standing") return shown.sort(standing);
  return shown.sort((a, b) => {
    if (a[name] === b[name]) return a.number - b.number;
    if (a[name] === null || b[name] === null) return a[name] === null ? 1 : -1; // what is unknown, last
    return direction * (a[name] < b[name] ? -1 : 1);
  });
}

const rows = new Map(); // trial number to its row, kept so that focus and scroll survive an update

function table() {
  const body = at("leaderboard").tBodies[0];
  const trials = ordered();
  const shown = trials.slice(0, view.all ? trials.length : ROWS);
  const focused = document.activeElement?.closest?.("#leaderboard tbody tr")?.dataset.number;
  const wanted = shown.map((trial) => {
    if (!rows.has(trial.number)) rows.set(trial.number, makeRow(trial));
    fillRow(rows.get(trial.number), trial);
    return rows.get(trial.number);
  });
  if (wanted.length !== body.rows.length || wanted.some((row, k) => body.rows[k] !== row)) body.replaceChildren(...wanted);
  if (focused !== undefined) rows.get(Number(focused))?.querySelector("button")?.focus({ preventScroll: true });
  at("more").hidden = trials.length <= shown.length;
  at("more").textContent = `show all ${trials.length}`;
}

function makeRow(trial) {
  const row = el("tr", { "data-number": trial.number, onclick: (event) => select(trial.number, event) });
  row.append(el("td", { cls: "number" }, el("button", { type: "button", cls: "pick", "aria-label": `select trial ${trial.number}` }, String(trial.number))));
  for (const column of COLUMNS.slice(1)) row.append(el("td", { cls: column.number ? "number" : "" }));
  row.append(el("td", { cls: "tries" }, el("div", {})));
  return row;
}

function fillRow(row, trial) {
  const { data } = view;
  row.className = `${trial.number === data.best?.trial ? "best" : ""}${trial.number === view.selected ? " selected" : ""}`;
  row.querySelector("button").setAttribute("aria-pressed", String(trial.number === view.selected));
  const goodness = trial.relative === null ? "" : better(trial.relative, 0) < 0 ? "number good" : "number";
  const badges = [trial.number === data.best?.trial ? "best" : null, trial.retries ? `${trial.retries} retried` : null];
  const stopped = trial.rung !== null && trial.state === "stopped" ? ` at ${trial.rung}` : "";
  const [, state, epochs, objective, relative, bpp, psnr, time, tries] = row.cells;
  state.replaceChildren(el("span", { cls: `chip ${trial.state}` }, icon(trial.state), trial.state + stopped), ...badges.filter(Boolean).map((text) => el("span", { cls: "badge" }, text)));
  epochs.textContent = `${trial.epochs}/${data.levels.at(-1)}`;
  objective.textContent = number(trial.objective, 5);
  relative.textContent = signed(trial.relative, data.relative);
  relative.className = goodness || "number";
  bpp.textContent = fixed(trial.bpp, 4);
  psnr.textContent = fixed(trial.psnr, 2);
  time.textContent = clock(trial.seconds);
  const pairs = trial.differs.map(([label, value]) => el("span", {}, `${label} `, el("b", {}, value)));
  tries.firstChild.replaceChildren(...(trial.number === 0 ? ["the prior, the hand-tuned baseline"] : pairs.length ? pairs : ["as the prior"]));
  tries.title = trial.differs.map((pair) => pair.join(" ")).join(", ");
}

function filters() {
  const present = STATES.filter((s) => view.data.trials.some((t) => t.state === s));
  const old = [...at("filters").children].map((b) => b.dataset.state);
  if (old.join() === present.join()) return;
  at("filters").replaceChildren(...present.map((state) => el("button", {
    type: "button", cls: "quiet", "data-state": state, "aria-pressed": String(!view.hidden.has(state)),
    onclick: ({ currentTarget }) => {
      if (!view.hidden.delete(state)) view.hidden.add(state);
      currentTarget.setAttribute("aria-pressed", String(!view.hidden.has(state)));
      table();
    },
  }, state)));
}

// --- rungs and failures --------------------------------------------------------------------------

function rungs() {
  const made = view.data.rungs.map((rung, k) => {
    const fates = Object.entries(Object.groupBy(rung.entries, (e) => FATES[e.fate][1]));
    const summary = fates.map(([kind, list]) => `${list.length} ${{ running: "went on", stopped: "stopped", waiting: "wait" }[kind]}`).join(", ");
    const split = el("div", { cls: "split", "aria-hidden": "true" }, ...fates.map(([kind, list]) => { const part = el("i", { cls: kind }); part.style.flexGrow = list.length; return part; }));
    const entries = rung.entries.map((entry) => el("tr", {},
      el("td", { cls: "number" }, el("button", { type: "button", cls: "pick", "aria-label": `select trial ${entry.trial}`, onclick: (event) => select(entry.trial, event) }, String(entry.trial))),
      el("td", { cls: "number" }, number(entry.value, 5)), el("td", { cls: "number" }, `${entry.rank} of ${entry.peers}`),
      el("td", {}, el("span", { cls: `chip ${FATES[entry.fate][1]}` }, FATES[entry.fate][0]))));
    const heads = ["trial", view.data.metric, "rank then", ""].map((text, n) => el("th", { scope: "col", cls: n < 3 ? "number" : "" }, text));
    const list = el("div", { cls: "scroll list", role: "region", tabindex: "0", "aria-label": `Trials at rung ${k + 1}` }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...entries)));
    return el("div", {}, el("h3", {}, `Rung ${k + 1}, epoch ${rung.epoch}: ${rung.entries.length ? summary : "nobody was here yet"}`), ...(rung.entries.length ? [split, list] : []));
  });
  keepScroll(at("rungs"), made.length ? made : [el("p", { cls: "empty" }, "Every trial trains to the end; nothing is compared before.")]);
}

function keepScroll(element, children) {
  const before = [...element.querySelectorAll(".list")].map((list) => list.scrollTop);
  element.replaceChildren(...children);
  element.querySelectorAll(".list").forEach((list, k) => { list.scrollTop = before[k] ?? 0; });
}

function failures() {
  const broken = view.data.trials.filter((t) => t.state === "failed" || t.retries);
  const sign = JSON.stringify(broken.map((t) => [t.number, t.state, t.reason, t.crashes]));
  if (at("failures").dataset.sign === sign) return; // an opened log stays open
  at("failures").dataset.sign = sign;
  at("failures").replaceChildren(...(broken.length ? broken.map((trial) => el("div", { cls: "failure" },
    el("div", {}, el("span", { cls: `chip ${trial.state}` }, icon(trial.state), `trial ${trial.number} ${trial.state}`),
      trial.retries ? el("span", { cls: "badge" }, `started again ${trial.retries} time${trial.retries === 1 ? "" : "s"}`) : null),
    ...trial.crashes.map((reason) => el("div", {}, `crashed: ${reason}`)),
    trial.state === "failed" ? el("div", {}, trial.reason ?? "no reason recorded") : null, logOf(trial.number))) : [el("p", { cls: "empty" }, "No trial failed or had to be started again.")]));
}

function logOf(trial, details = el("details", {}, el("summary", {}, "log"), el("div", {}))) {
  details.ontoggle = async () => {
    if (!details.open) return;
    const place = details.lastElementChild;
    const answer = await fetch(`api/trials/${trial}/log`).then((r) => r.json()).catch(() => ({ files: [] }));
    place.replaceChildren(...(answer.files.length ? answer.files.flatMap((file) => [
      el("h3", {}, file.name + (file.cut ? `, the end; ${file.cut} bytes before it are not shown` : "")), el("pre", { tabindex: "0" }, file.text)]) : [el("p", { cls: "empty" }, "It left no log in its folder.")]));
  };
  return details;
}

// --- the selected trial --------------------------------------------------------------------------

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
  const answer = await fetch(`api/trials/${wanted}`).catch(() => null);
  if (!answer?.ok || wanted !== view.selected) return;
  view.trial = await answer.json();
  panel();
  rates();
}

function panel() {
  const { trial } = view;
  const record = view.data.trials.find((t) => t.number === trial.number);
  at("trial").hidden = false;
  at("h-trial").textContent = `Trial ${trial.number}`;
  at("trial-told").textContent = [record.state, `epoch ${record.epochs}`, `${view.data.metric} ${number(record.objective)}`, record.reason].filter(Boolean).join(", ");
  for (const [id, group] of [["weights", "weights"], ["gammas", "gamma"], ["shares", "scale_contrib"]]) group_(id, trial.groups[group]);
  const both = trial.number !== 0;
  at("parameters").tHead.replaceChildren(el("tr", {}, ...["parameter", `trial ${trial.number}`, ...(both ? ["prior"] : [])].map((text) => el("th", { scope: "col" }, text))));
  at("parameters").tBodies[0].replaceChildren(...trial.parameters.map((p) => el("tr", { cls: "pair" }, el("td", {}, p.path),
    el("td", {}, p.value === p.prior ? p.value ?? "off" : el("b", {}, p.value ?? "off")), ...(both ? [el("td", {}, p.prior ?? "off")] : []))));
  at("history").replaceChildren(...trial.history.map((line) => el("li", {}, el("time", {}, moment(line.time)), el("span", {}, line.event), el("span", {}, line.text))));
  logOf(trial.number, at("trial-log"));
}

function group_(id, group) {
  const names = Object.keys(group);
  if (!names.length) { at(id).replaceChildren(el("p", { cls: "empty" }, "This balancer has none.")); return; }
  const values = names.flatMap((name) => group[name].map((p) => p[1])).filter((v) => v > 0);
  const log = id === "gammas" && values.length > 0;
  lines(at(id), {
    label: `${id} over epochs: ${names.join(", ")}`, x: { name: "epoch", whole: true }, y: { name: "", log }, tip,
    series: names.map((name, k) => ({ id: k, name, points: group[name], className: `l${(k % 5) + 1}` })),
  });
  at(id).nextElementSibling?.remove();
  at(id).after(el("p", { cls: "legend" }, ...names.map((name, k) => key(`curve l${(k % 5) + 1}`, name))));
}

// --- telling, asking -----------------------------------------------------------------------------

function tip(text, event) {
  at("tip").hidden = text === null;
  if (text === null) return;
  at("tip").textContent = text;
  const box = at("tip").getBoundingClientRect();
  at("tip").style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  at("tip").style.top = `${Math.max(4, event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18)}px`;
}

function draw() {
  if (!view.data) return;
  const colours = ramp();
  header();
  curves(colours);
  rates();
  filters();
  table();
  coordinates(colours);
  rungs();
  failures();
  if (view.trial) panel();
}

function problem(text) {
  at("problem").hidden = text === null;
  if (text !== null && at("problem").textContent !== text) at("problem").textContent = text;
}

let known = null; // the ETag of what is drawn

async function look() {
  try {
    const answer = await fetch("api/experiment", { headers: known ? { "If-None-Match": known } : {}, cache: "no-store" });
    if (answer.status === 200) {
      view.data = await answer.json();
      known = answer.headers.get("ETag");
      if (!at("leaderboard").tHead.rows[0].cells.length) head();
      draw();
      await details();
    }
    problem(answer.status === 200 || answer.status === 304 ? null : (await answer.json()).error ?? answer.statusText);
    view.seen = Date.now();
  } catch (error) {
    if (!(error instanceof TypeError) || view.data === null) console.error(error);
    problem("The page's server does not answer; what is shown is the last that was heard.");
  }
  setTimeout(look, document.hidden ? ELSE : EVERY[view.data?.state] ?? ELSE);
}

function live() {
  const ago = Math.round((Date.now() - view.seen) / 1000);
  at("live").textContent = view.seen ? (ago < 2 ? "up to date" : `looked ${ago} s ago`) : "";
}

for (const id of ["log-x", "log-y"]) at(id).addEventListener("change", draw);
at("more").addEventListener("click", () => { view.all = true; table(); });
at("close").addEventListener("click", () => select(view.selected));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && view.selected !== null) select(view.selected); });
let width = 0;
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width !== width) requestAnimationFrame(draw);
  width = contentRect.width;
}).observe(document.querySelector("main"));
setInterval(live, 1000);
const asked = /^#trial-(\d+)$/.exec(location.hash);
if (asked) view.selected = Number(asked[1]);
look();
