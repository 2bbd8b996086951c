// What the codecs make of photographs, side by side: as the last report has made them.

import { at, el } from "./words.js";
import { view } from "./view.js";

let drawn = null;

export function pictures() {
  const found = view.pictures;
  if (!found || found === drawn) return;
  drawn = found;
  at("pictures-card").hidden = !(found.photographs.length || found.nothing);
  const shown = found.photographs.map(({ name, pictures: row }) => el("div", {}, el("h3", {}, name), el("div", { cls: "pictures" }, ...row.map((one) =>
    el("figure", {}, el("img", { src: one.source, alt: `${name}: ${one.name}`, loading: "lazy" }), el("figcaption", {}, one.name, el("br"), one.caption))))));
  at("pictures").replaceChildren(...(shown.length ? shown : [el("p", { cls: "empty" }, found.nothing)]));
}
