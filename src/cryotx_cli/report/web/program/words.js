/** Numbers and names as people read them. */

const formats = []; // making one takes far longer than using it
export const number = (value, digits = 0) => {
  formats[digits] ??= new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return formats[digits].format(value);
};
export const counted = (value) => `${number(value)} ${value === 1 ? "pick" : "picks"}`;
/** Text of at most `room` characters: where it is too long its middle is left out. */
export const short = (text, room) =>
  text.length <= room ? text : `${text.slice(0, Math.ceil(room / 2) - 1)}…${text.slice(-Math.floor(room / 2))}`;
