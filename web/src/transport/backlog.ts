/** What was sent and not yet acknowledged, so that a lost socket loses no message. Pure. */

const MAX_MESSAGES = 512;
const MAX_CHARS = 1_048_576;

/** Messages as they were sent, numbered from 1. When there are too many the oldest go. */
export class Backlog {
  /** The last ones, without a gap. */
  readonly #kept: string[] = [];
  #chars = 0;
  #sent = 0;

  add(message: string): void {
    this.#sent += 1;
    this.#kept.push(message);
    this.#chars += message.length;
    while (this.#kept.length > MAX_MESSAGES || this.#chars > MAX_CHARS) this.#forgetOldest();
  }

  /** The other side has so many of them. */
  acknowledge(received: number): void {
    while (this.#kept.length > 0 && this.#sent - this.#kept.length < received) this.#forgetOldest();
  }

  /** All that follow these; null if that cannot be told any more, or never could. */
  after(received: number): readonly string[] | null {
    const missing = this.#sent - received;
    if (missing < 0 || missing > this.#kept.length) return null;
    return this.#kept.slice(this.#kept.length - missing);
  }

  #forgetOldest(): void {
    this.#chars -= this.#kept.shift()?.length ?? 0;
  }
}
