/** Elements: found, made, and walked through by keyboard. */

export const at = (id) => document.getElementById(id);

export const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text; // never markup: names come from files
  return element;
};

export const makeButton = (className, text) => {
  const button = make("button", className, text);
  button.type = "button";
  return button;
};

/** One stop for the Tab key; arrows move within the grid. `buttons` gives them in the order in which they are shown. */
export const roving = (grid, buttons) => {
  grid.addEventListener("keydown", (event) => {
    const all = buttons();
    const here = all.indexOf(event.target);
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const steps = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: columns,
      ArrowUp: -columns,
      Home: -here,
      End: all.length - 1 - here,
    };
    if (here < 0 || !(event.key in steps)) return;
    event.preventDefault();
    all[here + steps[event.key]]?.focus();
  });
  grid.addEventListener("focusin", (event) => {
    for (const button of grid.querySelectorAll("button")) button.tabIndex = button === event.target ? 0 : -1;
  });
};

/** Make the first of the buttons shown the stop of the Tab key, unless one of them is already. */
export const keepOneStop = (all, visible) => {
  if (visible.some((button) => button.tabIndex === 0)) return;
  for (const button of all) button.tabIndex = -1;
  if (visible.length) visible[0].tabIndex = 0;
};
