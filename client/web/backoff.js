// @ts-check

/** The first wait is drawn from [min, min * 2^FIRST_DOUBLINGS]; each failure doubles the upper end. */
const FIRST_DOUBLINGS = 2;

/**
 * How long to wait before the next attempt: exponential with full jitter, so that everybody who lost the same
 * server at the same moment does not come back at the same moment.
 */
export class Backoff {
  #failures = 0;
  #random;

  /** @param {() => number} [random] a number in [0, 1) */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /**
   * Count a failure and return the wait in seconds, between `min` and `max`.
   *
   * @param {number} min
   * @param {number} max
   */
  next(min, max) {
    const ceiling = Math.min(max, min * 2 ** (this.#failures + FIRST_DOUBLINGS));
    this.#failures += 1;
    return min + this.#random() * Math.max(0, ceiling - min);
  }

  reset() {
    this.#failures = 0;
  }
}
