// @ts-check
import { icon } from "./icons.js";

/** @import { Local } from "./storage.js" */
/** @typedef {"auto" | "light" | "dark"} Theme */

const NEXT = /** @type {const} */ ({ auto: "light", light: "dark", dark: "auto" });
const ICONS = /** @type {const} */ ({ auto: "auto", light: "sun", dark: "moon" });
const LABELS = { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };

/**
 * Let a button go through the palettes, and remember the choice in this browser.
 *
 * @param {HTMLButtonElement} button
 * @param {Local} local
 */
export function themeButton(button, local) {
  const read = () => {
    const stored = local.get("theme");
    return stored === "light" || stored === "dark" ? stored : "auto";
  };

  const show = () => {
    const theme = read();
    if (theme === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
    button.replaceChildren(icon(ICONS[theme]));
    button.setAttribute("aria-label", LABELS[theme]);
    button.title = LABELS[theme];
  };

  button.addEventListener("click", () => {
    const next = NEXT[read()];
    if (next === "auto") local.remove("theme");
    else local.remember("theme", next);
    show();
  });
  local.watch("theme", show);
  show();
}
