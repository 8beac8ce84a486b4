// @ts-check

/** A glance shorter than this (ms) is no reading; and a quick exchange needs one mark, not ten. */
const GLANCE_MS = 600;

/** Says what has been read, a moment after it came into view. */
export class ReadMarks {
  #tell;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #wanted = "";

  /** @param {(room: string, seq: number) => void} tell */
  constructor(tell) {
    this.#tell = tell;
  }

  /**
   * @param {string} room
   * @param {number} seq
   */
  mark(room, seq) {
    const wanted = `${room} ${seq}`;
    if (wanted === this.#wanted) return;
    this.cancel();
    this.#wanted = wanted;
    this.#timer = setTimeout(() => this.#tell(room, seq), GLANCE_MS);
  }

  /** Nobody is looking any more. */
  cancel() {
    clearTimeout(this.#timer);
    this.#wanted = "";
  }
}
