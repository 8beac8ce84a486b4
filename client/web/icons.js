// @ts-check

const SVG = "http://www.w3.org/2000/svg";

/** Strokes on a 24 by 24 grid. */
const PATHS = {
  alert: "M12 8v5m0 3.5v.01M12 3.5 2.8 19.5h18.4z",
  auto: "M12 4a8 8 0 1 0 0 16 8 8 0 1 0 0-16zm0 0v16m3-15v14m2.5-12.4v10.8",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 1 0 0-16zm0 4v4.2l2.8 1.8",
  close: "M6 6l12 12M18 6 6 18",
  down: "M12 5v14m-6-6 6 6 6-6",
  hash: "M9.5 4 7.5 20m9-16-2 16M4.5 9.2h16m-17 5.6h16",
  leave: "M14 4.5H6.5A1.5 1.5 0 0 0 5 6v12a1.5 1.5 0 0 0 1.5 1.5H14M10.5 12H20m-3.5-3.5L20 12l-3.5 3.5",
  lock: "M7.5 11V8a4.5 4.5 0 0 1 9 0v3M6 11h12v8.5H6z",
  menu: "M4 7h16M4 12h16M4 17h16",
  moon: "M19.5 14.2A8 8 0 0 1 9.8 4.5a8 8 0 1 0 9.7 9.7z",
  people: "M9 5.2a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 1 0 0-6.4zM3 19c.5-3.4 2.8-5 6-5s5.5 1.6 6 5m.5-13.6a3.2 3.2 0 0 1 0 6m2 3c1.9.7 3.1 2.2 3.5 4.6",
  person: "M12 4.5a3.6 3.6 0 1 0 0 7.2 3.6 3.6 0 1 0 0-7.2zM5 20c.6-3.9 3.3-5.6 7-5.6s6.4 1.7 7 5.6",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5m-6 6 6-6 6 6",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 1 0 0-8zm0-5v2m0 14v2m9-9h-2M5 12H3m15.4-6.4L17 7M7 17l-1.4 1.4m12.8 0L17 17M7 7 5.6 5.6",
};

/**
 * A decorative icon; the control around it has the name.
 *
 * @param {keyof typeof PATHS} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/**
 * Put the icons where index.html asks for them: `<span data-icon="plus"></span>`.
 *
 * @param {ParentNode} root
 */
export function placeIcons(root) {
  for (const place of root.querySelectorAll("[data-icon]")) {
    const name = place.getAttribute("data-icon");
    if (name !== null && name in PATHS) place.replaceChildren(icon(/** @type {keyof typeof PATHS} */ (name)));
  }
}
