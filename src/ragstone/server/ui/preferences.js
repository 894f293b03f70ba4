// What the reader has chosen, kept in this browser. Anything may stand in its storage; only what fits is taken.

const PLACE = "ragstone.settings";
const ALLOWED = {
  theme: (value) => ["auto", "light", "dark"].includes(value),
  mode: (value) => ["hybrid", "dense", "keyword"].includes(value),
  k: (value) => value === 0 || (Number.isInteger(value) && value >= 1 && value <= 10), // 0: as the service likes
  collection: (value) => typeof value === "string" && value.length <= 100, // "": the service's own
  memory: (value) => typeof value === "boolean",
  keep: (value) => typeof value === "boolean",
};

export const preferences = { theme: "auto", mode: "hybrid", k: 0, collection: "", memory: true, keep: true };

const listeners = [];

/** The value of a JSON entry of this browser's storage, null if there is none or it is broken. */
export function stored(place) {
  try {
    return JSON.parse(localStorage.getItem(place));
  } catch {
    return null;
  }
}

/** Change one preference, keep it, and tell whoever wants to know. */
export function prefer(name, value) {
  if (!ALLOWED[name](value) || preferences[name] === value) return;
  preferences[name] = value;
  try {
    localStorage.setItem(PLACE, JSON.stringify(preferences));
  } catch {
    // a browser that keeps nothing: it holds until the tab is closed
  }
  if (name === "theme") showTheme();
  listeners.forEach((listener) => listener(name));
}

export const onPreference = (listener) => listeners.push(listener);

function showTheme() {
  if (preferences.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = preferences.theme;
}

for (const [name, value] of Object.entries(stored(PLACE) ?? {})) {
  if (Object.hasOwn(ALLOWED, name) && ALLOWED[name](value)) preferences[name] = value;
}
