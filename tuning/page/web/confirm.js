// The finalists, the prior and the baseline, trained once more on seeds that the search did not use.

import { number } from "./charts.js";
import { at, el } from "./words.js";
import { better, score, view } from "./view.js";

export function finalists() {
  const { data } = view;
  at("confirm").hidden = data.confirm === null;
  if (data.confirm === null) return;
  const { seeds, left, finalists, best } = data.confirm;
  at("confirm-note").textContent = left ? `${left} of ${seeds.length * finalists.length} runs have not ended` : "every run has ended";
  const names = ["trial", "in the search", ...seeds.map((seed) => `seed ${seed}`), "mean", "to the prior, seed by seed"];
  at("finalists").tHead.replaceChildren(el("tr", {}, ...names.map((name) => el("th", { scope: "col", cls: "number" }, name))));
  at("finalists").tBodies[0].replaceChildren(...finalists.map((one) => el("tr", { cls: one.trial === best ? "best" : "" },
    el("td", { cls: "number" }, name(one), ...badges(one, best)),
    ...[one.searched, ...one.values].map((value) => el("td", { cls: "number" }, score(value, 5))),
    el("td", { cls: "number" }, spread(one.spread)),
    el("td", { cls: one.difference && better(one.difference[0], 0) < 0 ? "number good" : "number" }, one.trial === 0 ? "the prior" : spread(one.difference, true)))));
}

// The baseline is a reference run: it has no parameters of the search to be shown.
function name(one) {
  if (one.role === "reference") return "baseline";
  return el("button", { type: "button", cls: "pick", "aria-label": `select trial ${one.trial}`, onclick: (event) => view.select(one.trial, event) }, String(one.trial));
}

function badges(one, best) {
  const texts = [one.trial === best ? "best mean" : null, one.failed ? `${one.failed} failed` : null];
  return texts.filter(Boolean).map((text) => el("span", { cls: "badge" }, text));
}

function spread(found, sign = view.data.signed) {
  if (found === null) return "-";
  const [mean, deviation] = found;
  return `${score(mean, 5, sign)}${deviation === null ? "" : ` \u00b1 ${number(deviation, 2)}`}`;
}
