// What the codecs make of photographs, side by side: in a report alone, for a server would compute them again and again.

import { embedded } from "./source.js";
import { at, el } from "./words.js";

export function pictures() {
  const found = embedded?.["api/pictures"];
  at("pictures-card").hidden = !found || !(found.photographs.length || found.nothing);
  if (at("pictures-card").hidden) return;
  const shown = found.photographs.map(({ name, pictures: row }) => el("div", {}, el("h3", {}, name), el("div", { cls: "pictures" }, ...row.map((one) =>
    el("figure", {}, el("img", { src: one.source, alt: `${name}: ${one.name}`, loading: "lazy" }), el("figcaption", {}, one.name, el("br"), one.caption))))));
  at("pictures").replaceChildren(...(shown.length ? shown : [el("p", { cls: "empty" }, found.nothing)]));
}
