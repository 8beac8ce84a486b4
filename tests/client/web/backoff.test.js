import { Backoff } from "/web/backoff.js";
import { equal, ok, test } from "./harness.js";

test("every wait lies between the least and the most", () => {
  const backoff = new Backoff();
  for (let i = 0; i < 200; i += 1) {
    const wait = backoff.next(0.5, 30);
    ok(wait >= 0.5 && wait <= 30, `0.5 <= ${wait} <= 30`);
  }
});

test("the upper end doubles with each failure, up to the most", () => {
  const backoff = new Backoff(() => 1);
  equal([1, 2, 3, 4, 5, 6].map(() => backoff.next(0.5, 30)), [2, 4, 8, 16, 30, 30]);
});

test("the lower end stays, so that those who lost the same server spread out", () => {
  const backoff = new Backoff(() => 0);
  equal([1, 2, 3].map(() => backoff.next(0.5, 30)), [0.5, 0.5, 0.5]);
});

test("a success starts it anew", () => {
  const backoff = new Backoff(() => 1);
  backoff.next(1, 60);
  backoff.next(1, 60);
  backoff.reset();
  equal(backoff.next(1, 60), 4);
});

test("it holds when the most is not more than the least", () => {
  equal(new Backoff(() => 1).next(5, 5), 5);
});
