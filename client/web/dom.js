// @ts-check
/** Building the page node by node. Nothing here parses markup, so text stays text. */

/** @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Prop */

/**
 * Make an element. A function is a listener (`onclick`), true an empty attribute, false and null none.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {{[name: string]: Prop}} [props]
 * @param {...(Node | string | null | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/**
 * A person's name or other text from outside: isolated, so that its direction cannot turn what stands around it.
 *
 * @param {string} text
 * @param {string} [className]
 */
export const bdi = (text, className) => h("bdi", className ? { class: className } : {}, text);

/**
 * Find an element of index.html.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return element;
}

/**
 * Set an attribute, or take it away with null.
 *
 * @param {Element} element
 * @param {string} name
 * @param {string | null} value
 */
export function attribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Set a text only where it differs: an unchanged node keeps selections and is not announced again.
 *
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * A list whose elements stay the same for the same key, so that focus, selection and animations survive.
 *
 * @template T
 */
export class KeyedList {
  /** @type {Map<string, HTMLElement>} */
  #elements = new Map();
  #parent;
  #key;
  #render;

  /**
   * @param {HTMLElement} parent
   * @param {(item: T) => string} key
   * @param {(item: T, old: HTMLElement | null) => HTMLElement} render returns `old`, updated, or a new element
   */
  constructor(parent, key, render) {
    this.#parent = parent;
    this.#key = key;
    this.#render = render;
  }

  /** @param {string} key */
  get(key) {
    return this.#elements.get(key);
  }

  /** @param {T[]} items */
  show(items) {
    /** @type {Map<string, HTMLElement>} */
    const elements = new Map();
    for (const item of items) {
      const key = this.#key(item);
      elements.set(key, this.#render(item, this.#elements.get(key) ?? null));
    }
    const wanted = new Set(elements.values());
    for (const element of this.#elements.values()) if (!wanted.has(element)) element.remove();
    let next = this.#parent.firstElementChild;
    for (const element of elements.values()) {
      if (element === next) next = next.nextElementSibling;
      else this.#parent.insertBefore(element, next);
    }
    this.#elements = elements;
  }
}

/**
 * Do something once per frame, however often it is asked for. A hidden page has no frames, and gets a timer.
 *
 * @param {() => void} work
 */
export function oncePerFrame(work) {
  let queued = false;
  const run = () => {
    queued = false;
    work();
  };
  return () => {
    if (queued) return;
    queued = true;
    if (document.hidden) setTimeout(run, 100);
    else requestAnimationFrame(run);
  };
}
