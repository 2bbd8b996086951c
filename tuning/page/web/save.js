// A chart as an SVG file of its own: with the colours that it has on the page.

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "font-size", "font-weight", "font-family", "text-anchor", "paint-order"];
const NAMESPACE = "http://www.w3.org/2000/svg";

export function saveButton(drawing, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "SVG";
  button.setAttribute("aria-label", `save as SVG: ${label}`);
  button.addEventListener("click", () => download(text(drawing), `${label.split(/[:,;]/)[0].trim().replaceAll(/\W+/g, "_")}.svg`));
  return button;
}

export function text(drawing) {
  const copy = drawing.cloneNode(true);
  const [from, to] = [drawing, copy].map((root) => [root, ...root.querySelectorAll("*")]);
  from.forEach((element, k) => {
    const known = getComputedStyle(element);
    for (const name of STYLES) to[k].setAttribute(name, known.getPropertyValue(name));
    to[k].removeAttribute("class");
  });
  const [, , width, height] = drawing.getAttribute("viewBox").split(" ");
  copy.setAttribute("xmlns", NAMESPACE);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  const ground = document.createElementNS(NAMESPACE, "rect");
  ground.setAttribute("width", "100%");
  ground.setAttribute("height", "100%");
  ground.setAttribute("fill", getComputedStyle(document.documentElement).getPropertyValue("--card"));
  copy.prepend(ground);
  return new XMLSerializer().serializeToString(copy);
}

function download(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "image/svg+xml" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
