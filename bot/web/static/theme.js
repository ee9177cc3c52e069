// Runs before the page is painted, so that a remembered theme does not flash. Without one, the system's is used.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("almanac.theme");
  } catch {
    // storage may be forbidden; the system's theme will do
  }
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;

  const current = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const label = () => {
      const text = current() === "dark" ? "Use the light theme" : "Use the dark theme";
      button.setAttribute("aria-label", text);
      button.title = text;
    };
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("almanac.theme", root.dataset.theme);
      } catch {
        // it lasts until the page is closed
      }
      label();
    });
    dark.addEventListener("change", label);
    label();
  });
})();
