// @ts-check

/**
 * Give a dialog what every dialog has: its cancel buttons, and closing by a click beside it.
 *
 * @param {HTMLDialogElement} dialog
 */
export function closable(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  // A press that starts inside and ends outside (selecting text) is no click beside it.
  let pressedOutside = false;
  dialog.addEventListener("pointerdown", ({ target }) => (pressedOutside = target === dialog));
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog && pressedOutside) dialog.close();
  });
}
