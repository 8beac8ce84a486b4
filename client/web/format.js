// @ts-check

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayAndYearFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** @param {Date} date */
export const timeOfDay = (date) => timeFormat.format(date);

/** @param {Date} date */
export const fullTime = (date) => fullFormat.format(date);

/**
 * The local day, as a key: the same for two moments of one day.
 *
 * @param {Date} date
 */
export const dayKey = (date) => `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;

/**
 * @param {Date} date
 * @param {Date} [now]
 */
export function dayLabel(date, now = new Date()) {
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (dayKey(date) === dayKey(now)) return "Today";
  if (dayKey(date) === dayKey(yesterday)) return "Yesterday";
  return date.getFullYear() === now.getFullYear() ? dayFormat.format(date) : dayAndYearFormat.format(date);
}

/**
 * Characters as the server counts them: code points, not UTF-16 units.
 *
 * @param {string} text
 */
export function length(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/**
 * One or two letters that stand for a name.
 *
 * @param {string} name
 */
export function initials(name) {
  const words = name.match(/[\p{L}\p{N}]+/gu) ?? [];
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...(word ?? "")][0]).join("").toLocaleUpperCase() || "?";
}

/**
 * A hue (degrees) that stays with a person. The golden angle keeps neighbours apart.
 *
 * @param {number} id
 */
export const hue = (id) => Math.round((id * 137.508) % 360);

/**
 * A room's short name, made from its title; empty when no letter or digit of a-z, 0-9 is in it.
 *
 * @param {string} title
 */
export function slug(title) {
  const plain = title.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.replace(/[^a-z0-9]+/g, "-").replace(/^-+/, "").slice(0, 40).replace(/-+$/, "");
}

/**
 * Who is typing, in words.
 *
 * @param {string[]} names
 */
export function typingText(names) {
  const [first, second] = names;
  if (first === undefined) return "";
  if (second === undefined) return `${first} is typing`;
  return names.length === 2 ? `${first} and ${second} are typing` : "Several people are typing";
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/**
 * A count with a "+" when there may be more; large ones are cut.
 *
 * @param {{count: number, more: boolean}} unread
 */
export const badge = ({ count, more }) => (count > 99 ? "99+" : `${count}${more ? "+" : ""}`);

// Controls and invisible characters end a link: they could make it read as another one.
const LINK = /\bhttps?:\/\/[^\s<>"\p{Cc}\p{Cf}]+/giu;
const CLOSERS = /** @type {{[closer: string]: string}} */ ({ ")": "(", "]": "[", "}": "{" });

/**
 * Cut a text into plain pieces and links; only http and https addresses become links.
 *
 * @param {string} text
 * @returns {{text: string, href?: string}[]}
 */
export function pieces(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const address = trimAddress(match[0]);
    const href = linkTarget(address);
    if (href === null) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: address, href });
    end = match.index + address.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

/** Leave off the punctuation that belongs to the sentence around. @param {string} address */
function trimAddress(address) {
  let text = address;
  for (;;) {
    const last = text.at(-1) ?? "";
    const opener = CLOSERS[last];
    const unbalanced = opener !== undefined && text.split(last).length > text.split(opener).length;
    if (!unbalanced && !/[.,;:!?'*_~]/.test(last)) return text;
    text = text.slice(0, -1);
  }
}

/** @param {string} address */
function linkTarget(address) {
  try {
    const url = new URL(address);
    // "https://bank.example@evil.example" reads as what it is not.
    const honest = url.username === "" && url.password === "" && url.hostname !== "";
    return honest && (url.protocol === "http:" || url.protocol === "https:") ? url.href : null;
  } catch {
    return null;
  }
}
