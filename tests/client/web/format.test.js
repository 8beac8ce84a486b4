import { badge, dayLabel, initials, length, pieces, slug, typingText } from "/web/format.js";
import { equal, ok, test } from "./harness.js";

/** @param {string} text */
const links = (text) => pieces(text).flatMap(({ href }) => (href === undefined ? [] : [href]));

test("the pieces of a text, put together, are the text", () => {
  const texts = [
    "", "plain", "https://a.example", "see https://a.example/b?c=d#e.", "(https://a.example/x_(y)) and http://b.example,",
    "javascript:alert(1)", "a\nhttps://a.example\nb", "https://", "http://[bad", "<https://a.example>", "🙂https://a.example🙂",
  ];
  for (const text of texts) equal(pieces(text).map((piece) => piece.text).join(""), text);
});

test("only http and https become links", () => {
  equal(links("http://a.example/ https://b.example/x"), ["http://a.example/", "https://b.example/x"]);
  equal(links("javascript:alert(1) data:text/html,x file:///etc/passwd ftp://a.example vbscript:x blob:https"), []);
});

test("an address that reads as another one is no link", () => {
  equal(links("https://bank.example@evil.example/"), []);
  equal(links("https://user:secret@a.example/"), []);
});

test("invisible and direction-changing characters end a link", () => {
  for (const sign of ["\u202e", "\u200b", "\u2066", "\u200f", "\u0000"]) {
    equal(links(`https://a.example/x${sign}evil`), ["https://a.example/x"]);
  }
});

test("punctuation of the sentence stays outside of the link", () => {
  equal(links("(see https://a.example/b). Or https://a.example/c, or https://a.example/d!"), [
    "https://a.example/b", "https://a.example/c", "https://a.example/d",
  ]);
  equal(links("https://a.example/wiki/Sun_(star)"), ["https://a.example/wiki/Sun_(star)"]);
});

test("length counts code points, as the server does", () => {
  equal(["", "abc", "🙂", "👨‍👩‍👧", "é"].map(length), [0, 3, 1, 5, 1]);
});

test("a short name has only letters, digits and dashes, at most 40, and starts with a letter or digit", () => {
  equal(slug("Über die Brücke!"), "uber-die-brucke");
  equal(slug("  --A  &  B-- "), "a-b");
  equal(slug("日本語"), "");
  for (const title of ["x".repeat(99), "a ".repeat(50), "…Hello…", "ﬁne ¼", `${"a".repeat(39)}--b`]) {
    ok(/^[a-z0-9][a-z0-9-]{0,39}$/.test(slug(title)), slug(title));
    ok(!slug(title).endsWith("-"), slug(title));
  }
});

test("initials are whole letters of the first and last word", () => {
  equal(["Ann Keller", "jo", "José María de la Cruz", "李", "🙂", "𝒜b c"].map(initials), ["AK", "J", "JC", "李", "?", "𝒜C"]);
});

test("days are named from here", () => {
  const now = new Date(2026, 2, 1, 12);
  equal(dayLabel(new Date(2026, 2, 1, 0, 1), now), "Today");
  equal(dayLabel(new Date(2026, 1, 28, 23, 59), now), "Yesterday");
  ok(!dayLabel(new Date(2026, 1, 27), now).includes("2026"), "this year needs no number");
  ok(dayLabel(new Date(2025, 11, 31), now).includes("2025"), "another year has its number");
});

test("who is typing is said in words", () => {
  equal([[], ["A"], ["A", "B"], ["A", "B", "C"]].map(typingText), [
    "", "A is typing", "A and B are typing", "Several people are typing",
  ]);
});

test("large and unknown counts are cut", () => {
  equal([badge({ count: 3, more: false }), badge({ count: 50, more: true }), badge({ count: 100, more: false })], ["3", "50+", "99+"]);
});
