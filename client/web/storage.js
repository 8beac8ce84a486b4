// @ts-check

const PREFIX = "switchboard.";

/** @returns {Storage | null} null where the browser forbids it */
function browserStorage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

/** The part of the browser's storage that is ours; the memory of this page where the browser has none for us. */
export class Local {
  /** @type {Map<string, string>} */
  #memory = new Map();
  #storage = browserStorage();

  /** @param {string} key */
  get(key) {
    return this.#storage ? this.#storage.getItem(PREFIX + key) : (this.#memory.get(key) ?? null);
  }

  /**
   * @param {string} key
   * @param {string} value
   * @throws {DOMException} the storage is full
   */
  set(key, value) {
    if (this.#storage) this.#storage.setItem(PREFIX + key, value);
    else this.#memory.set(key, value);
  }

  /**
   * Keep what is nice to have: where the storage is full, it is forgotten with the page.
   *
   * @param {string} key
   * @param {string} value
   */
  remember(key, value) {
    try {
      this.set(key, value);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
  }

  /** @param {string} key */
  remove(key) {
    this.#storage?.removeItem(PREFIX + key);
    this.#memory.delete(key);
  }

  /**
   * @param {string} start
   * @returns {string[]} the keys that start so, in order
   */
  keys(start) {
    const all = this.#storage
      ? Object.keys(this.#storage)
          .filter((key) => key.startsWith(PREFIX))
          .map((key) => key.slice(PREFIX.length))
      : [...this.#memory.keys()];
    return all.filter((key) => key.startsWith(start)).sort();
  }

  /**
   * Call back when another tab changes a key that starts so.
   *
   * @param {string} start
   * @param {() => void} callback
   * @param {AbortSignal} [signal] ends the subscription
   */
  watch(start, callback, signal) {
    addEventListener(
      "storage",
      ({ key }) => {
        if (key === null || key.startsWith(PREFIX + start)) callback();
      },
      { signal },
    );
  }
}
