// What happened at each rung, and what went wrong.

import { ask } from "./source.js";
import { at, el, icon } from "./words.js";
import { score, view } from "./view.js";

const ENTRIES = 100; // of a rung that are listed
const BROKEN = 20; // failures that are listed before "show more"
const REASONS = 8; // that are counted
const FATES = {
  promoted: ["went on", "running"], "promoted later": ["went on later", "running"], control: ["went on by lot", "running"],
  prior: ["went on, the prior", "running"], stopped: ["stopped here", "stopped"], waits: ["waits", "waiting"],
};

export function rungs() {
  const made = view.data.rungs.map((rung, k) => {
    const fates = Object.entries(Object.groupBy(rung.entries, (e) => FATES[e.fate][1]));
    const summary = fates.map(([kind, list]) => `${list.length} ${{ running: "went on", stopped: "stopped", waiting: "wait" }[kind]}`).join(", ");
    const split = el("div", { cls: "split", "aria-hidden": "true" }, ...fates.map(([kind, list]) => { const part = el("i", { cls: kind }); part.style.flexGrow = list.length; return part; }));
    const entries = rung.entries.slice(0, ENTRIES).map((entry) => el("tr", {},
      el("td", { cls: "number" }, el("button", { type: "button", cls: "pick", "aria-label": `select trial ${entry.trial}`, onclick: (event) => view.select(entry.trial, event) }, String(entry.trial))),
      el("td", { cls: "number" }, score(entry.value, 5)), el("td", { cls: "number" }, `${entry.rank} of ${entry.peers}`),
      el("td", {}, el("span", { cls: `chip ${FATES[entry.fate][1]}` }, FATES[entry.fate][0]))));
    const heads = ["trial", view.data.metric, "rank then", ""].map((text, n) => el("th", { scope: "col", cls: n < 3 ? "number" : "" }, text));
    const list = el("div", { cls: "scroll list", role: "region", tabindex: "0", "aria-label": `Trials at rung ${k + 1}` }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...entries)),
      rung.entries.length > entries.length ? el("p", { cls: "empty" }, `and ${rung.entries.length - entries.length} that ranked lower`) : null);
    return el("div", {}, el("h3", {}, `Rung ${k + 1}, epoch ${rung.epoch}: ${rung.entries.length ? summary : "nobody was here yet"}`), ...(rung.entries.length ? [split, list] : []));
  });
  keepScroll(at("rungs"), made.length ? made : [el("p", { cls: "empty" }, "Every trial trains to the end; nothing is compared before.")]);
}

function keepScroll(element, children) {
  const before = [...element.querySelectorAll(".list")].map((list) => list.scrollTop);
  element.replaceChildren(...children);
  element.querySelectorAll(".list").forEach((list, k) => { list.scrollTop = before[k] ?? 0; });
}

export function failures() {
  const broken = view.data.trials.filter((t) => t.state === "failed" || t.retries);
  broken.sort((a, b) => (b.state === "failed") - (a.state === "failed") || b.number - a.number);
  const sign = JSON.stringify([view.allFailures, broken.map((t) => [t.number, t.state, t.reason, t.crashes])]);
  if (at("failures").dataset.sign === sign) return; // an opened log stays open
  at("failures").dataset.sign = sign;
  const shown = broken.slice(0, view.allFailures ? broken.length : BROKEN);
  const rest = broken.length - shown.length;
  at("failures").replaceChildren(
    ...(broken.length ? [] : [el("p", { cls: "empty" }, "No trial failed or had to be started again.")]),
    ...(broken.length > 3 ? [reasons(broken)] : []),
    ...shown.map(failure),
    ...(rest ? [el("button", { type: "button", cls: "quiet", onclick: () => { view.allFailures = true; failures(); } }, `show ${rest} more`)] : []),
  );
}

// How often each reason was given, the most frequent first.
function reasons(broken) {
  const given = broken.flatMap((t) => [...t.crashes.map((reason) => `crashed: ${reason}`), ...(t.state === "failed" ? [t.reason ?? "no reason recorded"] : [])]);
  const counts = [...Map.groupBy(given, (reason) => reason)].map(([reason, list]) => [list.length, reason]);
  counts.sort((a, b) => b[0] - a[0]);
  const rows = counts.slice(0, REASONS).map(([count, reason]) => el("tr", {}, el("td", { cls: "number" }, String(count)), el("td", {}, reason)));
  const rest = counts.length > REASONS ? [el("p", { cls: "empty" }, `and ${counts.length - REASONS} other reasons`)] : [];
  return el("div", { cls: "reasons" }, el("table", {}, el("tbody", {}, ...rows)), ...rest);
}

function failure(trial) {
  const again = `started again ${trial.retries} time${trial.retries === 1 ? "" : "s"}`;
  return el("div", { cls: "failure" },
    el("div", {}, el("span", { cls: `chip ${trial.state}` }, icon(trial.state), `trial ${trial.number} ${trial.state}`), trial.retries ? el("span", { cls: "badge" }, again) : null),
    ...trial.crashes.map((reason) => el("div", {}, `crashed: ${reason}`)),
    trial.state === "failed" ? el("div", {}, trial.reason ?? "no reason recorded") : null, logOf(trial.number));
}

export function logOf(trial, details = el("details", {}, el("summary", {}, "log"), el("div", {}))) {
  details.ontoggle = async () => {
    if (!details.open) return;
    const place = details.lastElementChild;
    const answer = await ask(`api/trials/${trial}/log`).then((r) => r.json()).catch(() => ({ files: [] }));
    place.replaceChildren(...(answer.files.length ? answer.files.flatMap((file) => [
      el("h3", {}, file.name + (file.cut ? `, the end; ${file.cut} bytes before it are not shown` : "")), el("pre", { tabindex: "0" }, file.text)]) : [el("p", { cls: "empty" }, "It left no log in its folder.")]));
  };
  return details;
}
