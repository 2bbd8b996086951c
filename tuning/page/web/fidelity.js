// How well the order at a rung foretells the order later: Kendall's tau-b with its interval.

import { svg } from "./charts.js";
import { at, el } from "./words.js";
import { view } from "./view.js";

const HALF = 60; // pixels from 0 to 1
const HEADS = ["rung", "to", "trials", "losers watched", "tau-b, from -1 to 1", "", "losers to be kept", "regret of the cut"];

export function fidelity() {
  const { nothing, least, warnings, pairs } = view.data.fidelity;
  const unknown = nothing || (pairs.some((pair) => pair.tau !== null) ? "" : `How well rungs foretell what comes later is not known before ${least} trials that lost at a rung went on all the same.`);
  const rows = pairs.map((pair) => el("tr", {},
    ...[`epoch ${pair.rung}`, pair.end ? "the end" : `epoch ${pair.to}`].map((text) => el("td", {}, text)),
    ...[pair.trials, pair.losers].map((count) => el("td", { cls: "number" }, String(count))),
    el("td", {}, pair.tau === null ? null : interval(pair)),
    ...[pair.tau_text, pair.kept_text, pair.regret_text].map((text) => el("td", {}, text))));
  const heads = HEADS.map((text, n) => el("th", { scope: "col", cls: n === 2 || n === 3 ? "number" : "" }, text));
  at("fidelity").replaceChildren(
    ...(unknown ? [el("p", { cls: "empty" }, unknown)] : []),
    ...(unknown ? [] : [el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows))]),
    ...warnings.map((warning) => el("p", { cls: "note" }, warning)));
}

function interval({ tau, interval: [low, high], tau_text: text }) {
  const x = (value) => HALF * (1 + value) + 4;
  return svg("svg", { class: "tau", viewBox: `0 0 ${2 * HALF + 8} 14`, width: 2 * HALF + 8, height: 14, role: "img", "aria-label": `tau-b ${text}` },
    svg("path", { d: `M${x(-1)} 7H${x(1)}M${x(0)} 1V13`, class: "axis" }),
    svg("path", { d: `M${x(low)} 7H${x(high)}`, class: "span" }),
    svg("circle", { cx: x(tau), cy: 7, r: 3.6, class: "dot" }));
}
