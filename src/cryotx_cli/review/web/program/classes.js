/** The averages of the run's picks: which circles are shown, and the colours of classes. */

import { colourOfClass } from "./colours.js";
import { at, counted, make, press } from "./dom.js";
import { addressOf, ask } from "./server.js";
import { changed, state } from "./state.js";

const words = () => {
  const hidden = [...state.hiddenClasses].sort((a, b) => a - b);
  at("classes-words").textContent = hidden.length
    ? `To drop these: cryotx threshold ${state.review.title} --drop-classes ${hidden.join(",")}`
    : "";
};

const turn = (number, button) => {
  if (!state.hiddenClasses.delete(number)) state.hiddenClasses.add(number);
  press(button, !state.hiddenClasses.has(number));
  words();
  changed();
};

const cardOf = (one) => {
  const [item, button, picture] = [make("li"), make("button"), make("img")];
  button.type = "button";
  press(button, !state.hiddenClasses.has(one.number));
  picture.src = addressOf(`/classes/${one.number}`);
  picture.alt = "";
  picture.style.borderColor = colourOfClass(one.number);
  button.append(picture, make("span", "", `${one.number}: ${counted(one.picks, "picks")}, ${one.words}`));
  button.addEventListener("click", () => turn(one.number, button));
  item.append(button);
  return item;
};

/** Show the button of the gallery where there are classes. */
export const findClasses = async () => {
  const rows = await ask("/api/classes");
  at("classes-button").hidden = !rows.length;
  at("colours").querySelector('[value="class"]').disabled = !rows.length;
  return rows;
};

export const openClasses = async () => {
  const rows = await findClasses();
  if (!rows.length || at("classes").open) return;
  at("class-list").replaceChildren(...rows.map(cardOf));
  words();
  at("classes").showModal();
};
at("classes-button").addEventListener("click", openClasses);
