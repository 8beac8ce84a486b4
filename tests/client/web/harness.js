// @ts-check
/** The little that the tests of the modules need; test_modules.py runs one test by its name. */

/** @type {Map<string, () => unknown>} */
const tests = new Map();

/**
 * @param {string} property what the test shows, as a sentence
 * @param {() => unknown} body
 */
export function test(property, body) {
  if (tests.has(property)) throw new Error(`two tests are called "${property}"`);
  tests.set(property, body);
}

/** @param {string} property */
export async function run(property) {
  const body = tests.get(property);
  if (!body) throw new Error(`no test is called "${property}"`);
  await body();
}

/**
 * Compare by value.
 *
 * @param {unknown} actual
 * @param {unknown} expected
 */
export function equal(actual, expected) {
  const [is, ought] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== ought) throw new Error(`it is ${is}, and ought to be ${ought}`);
}

/**
 * @param {unknown} fact
 * @param {string} claim
 */
export function ok(fact, claim) {
  if (!fact) throw new Error(`not so: ${claim}`);
}

/**
 * Wait until something is true; test_modules.py sets the deadline.
 *
 * @param {() => unknown} condition
 */
export async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}
