// @ts-check

const ROOM = /^[a-z0-9][a-z0-9-]{0,39}$/;

/** The room that the address names: `#lobby`. Links and the browser's back button work by it. */
export function roomInAddress() {
  const name = location.hash.slice(1);
  return ROOM.test(name) ? name : null;
}

/**
 * @param {string | null} room
 * @param {{replace?: boolean}} [how] `replace`: without a step in the browser's history
 */
export function goTo(room, { replace = false } = {}) {
  const address = room === null ? location.pathname + location.search : `#${room}`;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @param {() => void} callback */
export function onAddress(callback) {
  addEventListener("hashchange", callback);
}
