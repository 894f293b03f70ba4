// Building elements. Text only ever becomes text nodes: nothing in this page turns a string into markup.

export const byId = (id) => document.getElementById(id);

/** An element with attributes (functions become listeners) and children (strings become text nodes). */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** Make the children of `place` what `children` are, keeping the nodes that are alike: focus and scrolling stay.
 * For nodes without listeners. */
export function update(place, ...children) {
  const wanted = children.filter((child) => child !== null && child !== "");
  wanted.forEach((child, index) => {
    const now = place.childNodes[index];
    if (!now) place.append(child);
    else if (!(child instanceof Node)) replaceText(now, child);
    else if (now.nodeName !== child.nodeName) now.replaceWith(child);
    else if (child.nodeType === Node.TEXT_NODE) replaceText(now, child.data);
    else {
      for (const { name } of [...now.attributes]) if (!child.hasAttribute(name)) now.removeAttribute(name);
      for (const { name, value } of child.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
      update(now, ...child.childNodes);
    }
  });
  while (place.childNodes.length > wanted.length) place.lastChild.remove();
}

function replaceText(node, text) {
  if (node.nodeType !== Node.TEXT_NODE) node.replaceWith(text);
  else if (node.data !== text) node.data = text;
}

/** Tell screen readers, without moving anything on the page. */
export function say(text) {
  byId("said").textContent = text;
}

/** A quiet boxed remark: what happened, what to do, and an optional button. */
export function notice(kind, text, hint = "", action = null) {
  return element(
    "div",
    { class: `notice ${kind}` },
    element("p", {}, text),
    hint ? element("p", { class: "small" }, hint) : null,
    action ? element("button", { type: "button", click: action.run }, action.label) : null,
  );
}

/** The remark on something that failed, with a button to try it again if there is a way. */
export const trouble = (error, again = null) =>
  notice("bad", error.message, error.hint, again && { label: "Try again", run: again });

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** 0.0421 → "42 µs", 0.4 → "0.4 ms", 41.2 → "41 ms", 1679 → "1.7 s". */
export function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 0.1) return `${Math.round(1000 * ms)} µs`;
  return ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}
