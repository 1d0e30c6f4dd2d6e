/** Elements of the page. */

export const at = (id) => document.getElementById(id);

export const make = (tag, name = "", text = "") => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  return element;
};

export const press = (button, on) => button.setAttribute("aria-pressed", on ? "true" : "false");

export const number = (value) => value.toLocaleString("en-US");

export const counted = (value, unit) => `${number(value)} ${value === 1 ? unit.replace(/s$/, "") : unit}`;

/** Call `work` when nothing has asked for it for so many milliseconds. */
export const settled = (work, milliseconds) => {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
};

/** Call `work` once before the next frame, however often it is asked for. */
export const onceAFrame = (work) => {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
};
