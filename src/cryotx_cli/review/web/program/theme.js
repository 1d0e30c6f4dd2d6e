/** Light or dark: as the system, until somebody chooses. */

import { at } from "./dom.js";

const system = matchMedia("(prefers-color-scheme: dark)");
let chosen = localStorage.getItem("cryotx-theme");

const show = () => {
  const theme = chosen ?? (system.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  at("theme").textContent = theme === "dark" ? "Light" : "Dark";
};
at("theme").addEventListener("click", () => {
  chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("cryotx-theme", chosen);
  show();
});
system.addEventListener("change", show);
show();
