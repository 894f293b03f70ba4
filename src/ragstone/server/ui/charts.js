// Small drawings beside figures: they say nothing that the figures do not.

const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A bar to `low` and a thinner one on to `high`, of `most`. */
export function bars(low, high, most) {
  const share = (value) => (most > 0 ? ((100 * value) / most).toFixed(2) : 0);
  return drawn(
    "svg",
    { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("rect", { class: "bar-ground", x: 0, y: 4, width: 100, height: 2 }),
    drawn("rect", { class: "bar-high", x: 0, y: 3, width: share(high), height: 4 }),
    drawn("rect", { class: "bar-low", x: 0, y: 1, width: share(low), height: 8 }),
  );
}

/** How `values` moved, oldest first, with its label. */
export function curve(values, label) {
  const most = 1.25 * Math.max(...values) || 1; // air above the highest
  const step = 100 / Math.max(1, values.length - 1);
  const points = (values.length > 1 ? values : [values[0], values[0]])
    .map((value, index, all) => `${(index * (all.length === 2 && values.length === 1 ? 100 : step)).toFixed(2)},${(29 - (27 * value) / most).toFixed(2)}`)
    .join(" ");
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.className = "small";
  caption.textContent = label;
  figure.append(
    drawn(
      "svg",
      { class: "curve", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
      drawn("polyline", { points, "vector-effect": "non-scaling-stroke" }),
    ),
    caption,
  );
  return figure;
}
