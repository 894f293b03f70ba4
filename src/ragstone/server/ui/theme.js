// Before anything is painted: the colours that the reader has chosen, else the system's.
(() => {
  try {
    const { theme } = JSON.parse(localStorage.getItem("ragstone.settings") ?? "{}");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // no storage, or not ours: the system's colours
  }
})();
