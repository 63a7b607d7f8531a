"use strict";
// Theme and text size before anything is drawn: a page in the wrong ones must not flash.
(function () {
  var get = function (key) { try { return localStorage.getItem("ark." + key); } catch (error) { return null; } };
  var theme = get("theme") || "auto";
  var dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.style.setProperty("--step", get("step") || "1");
})();
