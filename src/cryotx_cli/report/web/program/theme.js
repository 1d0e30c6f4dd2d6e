/** Light or dark: as the system, until the reader chooses. */

import { at } from "./dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const nameButton = () => {
  at("theme").textContent = isDark() ? "Light theme" : "Dark theme";
};

/** Call `changed` whenever the colours are others. */
export const watchTheme = (changed) => {
  at("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameButton();
    changed();
  });
  dark.addEventListener("change", () => {
    nameButton();
    changed();
  });
  at("theme").hidden = false;
  nameButton();
};
