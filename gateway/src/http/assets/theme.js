"use strict";
// The theme, before anything is drawn: a page in the wrong one must not flash. The tokens know a theme by name, so "as the system" is told
// to them by name too.
let theme = "auto";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
function showTheme(wanted) {
  theme = wanted;
  const shown = wanted === "auto" && systemIsDark.matches ? "dark" : wanted;
  if (shown === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = shown;
}
systemIsDark.addEventListener("change", () => showTheme(theme));
try { showTheme(localStorage.getItem("ark.theme") || "auto"); } catch { showTheme("auto"); }
