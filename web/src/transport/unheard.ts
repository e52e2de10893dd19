/**
 * Whether a peer hears what we send: from its own reports, and from our packets that left. Pure.
 *
 * Who is mute or silent with discontinuous transmission sends next to nothing, and raises no alarm.
 */

/** Of our packets between two reports: half of a second's, and above any comfort noise. */
const MIN_PACKETS = 20;
/** Reports come once a second. */
const MAX_MISSED = 3;

export class Unheard {
  #sent = 0;
  #missed = 0;

  get isUnheard(): boolean {
    return this.#missed >= MAX_MISSED;
  }

  /** The peer says whether our voice came in the last second; `sent` is what has left by now. */
  report(heard: boolean, sent: number): void {
    const since = sent - this.#sent;
    this.#sent = sent;
    if (heard) this.#missed = 0;
    else if (since >= MIN_PACKETS) this.#missed += 1;
  }

  /** Another connection, or another path: count anew, of packets that leave on it. */
  reset(): void {
    this.#sent = 0;
    this.#missed = 0;
  }
}
