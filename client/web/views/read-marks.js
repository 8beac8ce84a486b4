// @ts-check

/** A quick exchange needs one mark, not ten. */
const WAIT_MS = 600;

/** Tells the server what has been read: the last of what was read within a moment. */
export class ReadMarks {
  #tell;
  /** @type {Map<string, number>} */
  #waiting = new Map();

  /** @param {(room: string, seq: number) => void} tell */
  constructor(tell) {
    this.#tell = tell;
  }

  /**
   * @param {string} room
   * @param {number} seq
   */
  mark(room, seq) {
    if (!this.#waiting.has(room)) setTimeout(() => this.#flush(room), WAIT_MS);
    this.#waiting.set(room, seq);
  }

  /** @param {string} room */
  #flush(room) {
    const seq = this.#waiting.get(room);
    this.#waiting.delete(room);
    if (seq !== undefined) this.#tell(room, seq);
  }
}
