// @ts-check
import { bdi, h } from "../dom.js";
import { fullTime, pieces, timeOfDay } from "../format.js";
import { icon } from "../icons.js";
import { avatar } from "./avatar.js";

/** @import { Row } from "../rows.js" */

/**
 * What a row looks like; two rows that look the same need no new element.
 *
 * @param {Row} row
 * @param {boolean} online
 */
export function look(row, online) {
  switch (row.kind) {
    case "message":
      return `${row.message.rev} ${row.head} ${row.own}`;
    case "pending":
      return `${row.entry.failed ?? ""} ${row.head} ${online}`;
    case "day":
      return row.label;
    default:
      return row.kind;
  }
}

/**
 * Build a row of the message list.
 *
 * @param {Row} row
 * @param {{online: boolean, retry: (nonce: string) => void, remove: (nonce: string) => void, title: string}} context
 * @returns {HTMLLIElement}
 */
export function messageRow(row, context) {
  switch (row.kind) {
    case "start":
      return h("li", { class: "row start" }, h("p", {}, "This is where ", bdi(context.title), " begins."));
    case "day":
      return h("li", { class: "row day" }, h("span", {}, row.label));
    case "new":
      return h("li", { class: "row new" }, h("span", {}, "New"));
    case "message":
      return message(row);
    case "pending":
      return pending(row, context);
  }
}

/** @param {Extract<Row, {kind: "message"}>} row */
function message({ message: { seq, user, text, deleted, edited_at }, at, own, head }) {
  const time = h("time", { datetime: at.toISOString(), title: fullTime(at) }, timeOfDay(at));
  const gone = text === null || deleted;
  const body = h("div", { class: gone ? "text gone" : "text", dir: "auto" });
  if (gone) body.append("This message was deleted.");
  else body.append(...inline(text));
  if (edited_at && !gone) body.append(h("span", { class: "edited", title: fullTime(new Date(edited_at)) }, " (edited)"));
  const heading = head
    ? h("div", { class: "heading" }, own ? h("span", { class: "visually-hidden" }, "You") : bdi(user.name, "author"), time)
    : null;
  return h(
    "li",
    { class: `row message ${own ? "own" : "other"}${head ? " head" : ""}`, "data-seq": seq },
    head && !own ? avatar(user) : null,
    heading,
    head ? body : h("div", { class: "line" }, body, h("span", { class: "side-time" }, time)),
  );
}

/**
 * @param {Extract<Row, {kind: "pending"}>} row
 * @param {{online: boolean, retry: (nonce: string) => void, remove: (nonce: string) => void}} context
 */
function pending({ entry, head }, { online, retry, remove }) {
  const failed = entry.failed !== undefined;
  const body = h("div", { class: "text", dir: "auto" });
  body.append(...inline(entry.text));
  const state = failed
    ? h(
        "div",
        { class: "state failed" },
        icon("alert"),
        h("span", {}, `Not sent. ${entry.failed}`),
        h("button", { type: "button", class: "link-button", onclick: () => retry(entry.nonce) }, "Retry"),
        h("button", { type: "button", class: "link-button", onclick: () => remove(entry.nonce) }, "Delete"),
      )
    : h("div", { class: "state" }, icon("clock"), online ? "Sending" : "Waits for the connection");
  const heading = head ? h("div", { class: "heading" }, h("span", { class: "visually-hidden" }, "You")) : null;
  const classes = `row message own ${failed ? "failed" : "pending"}${head ? " head" : ""}`;
  return h("li", { class: classes, "data-nonce": entry.nonce }, heading, body, state);
}

/** The text as nodes: links are made here, and only here. @param {string} text */
function inline(text) {
  return pieces(text).map(({ text: piece, href }) =>
    href === undefined ? piece : h("a", { href, target: "_blank", rel: "noopener noreferrer", dir: "ltr" }, piece),
  );
}
