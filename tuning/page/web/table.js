// The table of trials: sorted, filtered, its rows kept so that focus and scroll survive an update.

import { number } from "./charts.js";
import { at, clock, el, fixed, icon } from "./words.js";
import { better, byProgress, relative, score, STATES, view } from "./view.js";

const ROWS = 100; // trials in the table before "show all"
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

export function head() {
  const row = at("leaderboard").tHead.rows[0];
  row.replaceChildren(...COLUMNS.map((column) => {
    const name = column.key === "objective" ? view.data.metric : column.name;
    const sorted = view.sort[0] === column.key ? (view.sort[1] > 0 ? "ascending" : "descending") : null;
    return el("th", { scope: "col", cls: column.number ? "number" : "", "aria-sort": sorted, "data-key": column.key }, el("button", { type: "button", onclick: () => sortBy(column.key) }, name));
  }), el("th", { scope: "col" }, "differs from the prior in"));
}

function sortBy(name) {
  const [old, direction] = view.sort;
  view.sort = old !== name ? [name, 1] : direction > 0 ? [name, -1] : ["progress", 1];
  head();
  table();
  at("leaderboard").querySelector(`th[data-key="${name}"] button`).focus();
}

function ordered() {
  const [name, direction] = view.sort;
  const shown = view.data.trials.filter((t) => !view.hidden.has(t.state));
  if (name === "progress") return shown.sort(byProgress);
  return shown.sort((a, b) => {
    if (a[name] === b[name]) return a.number - b.number;
    if (a[name] === null || b[name] === null) return a[name] === null ? 1 : -1; // what is unknown, last
    return direction * (a[name] < b[name] ? -1 : 1);
  });
}

const rows = new Map(); // trial number to its row, kept so that focus and scroll survive an update

export function table() {
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
  const row = el("tr", { "data-number": trial.number, onclick: (event) => view.select(trial.number, event) });
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
  const badges = [trial.number === data.best?.trial ? "best" : null, data.front.includes(trial.number) ? "front" : null, trial.feasible ? null : "out of bounds", trial.retries ? `${trial.retries} retried` : null];
  const stopped = trial.rung !== null && trial.state === "stopped" ? ` at ${trial.rung}` : "";
  const [, state, epochs, objective, against, bpp, psnr, time, tries] = row.cells;
  state.replaceChildren(el("span", { cls: `chip ${trial.state}` }, icon(trial.state), trial.state + stopped), ...badges.filter(Boolean).map((text) => el("span", { cls: "badge" }, text)));
  epochs.textContent = `${trial.epochs}/${data.levels.at(-1)}`;
  objective.textContent = score(trial.objective, 5) + (trial.error === null ? "" : ` \u00b1 ${number(trial.error, 2)}`);
  objective.title = trial.error === null ? "" : "\u00b1 standard error over the validation images";
  against.textContent = relative(trial);
  against.className = goodness || "number";
  bpp.textContent = fixed(trial.bpp, 4);
  psnr.textContent = fixed(trial.psnr, 2);
  time.textContent = clock(trial.seconds);
  const pairs = trial.differs.map(([label, value]) => el("span", {}, `${label} `, el("b", {}, value)));
  tries.firstChild.replaceChildren(...(trial.number === 0 && data.ranks ? ["the prior, the hand-tuned config"] : pairs.length ? pairs : ["as the prior"]));
  tries.title = trial.differs.map((pair) => pair.join(" ")).join(", ");
}

export function filters() {
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
