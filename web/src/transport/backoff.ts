/** How long to wait before trying again: longer each time, and not in step with others. */

const FIRST_MS = 250;
const LAST_MS = 2_000;

export class Backoff {
  #failures = 0;

  /** The wait after one more failure, in milliseconds. */
  next(): number {
    const wait = Math.min(FIRST_MS * 2 ** this.#failures, LAST_MS);
    this.#failures += 1;
    return wait * (0.75 + Math.random() / 2);
  }

  /** It worked. */
  reset(): void {
    this.#failures = 0;
  }
}
