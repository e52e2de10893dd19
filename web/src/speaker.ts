/** What this person hears: one `<audio data-identity>` per remote participant. */

/** Reports `change` when the browser begins or ceases to hold sound back. */
export class Speaker extends EventTarget {
  /** The browser plays nothing before a click. */
  blocked = false;
  readonly #place: HTMLElement;
  readonly #audios = new Map<string, HTMLAudioElement>();

  /** Audio elements live in `place`, which nothing else renders into. */
  constructor(place: HTMLElement) {
    super();
    this.#place = place;
  }

  play(identity: string, stream: MediaStream): void {
    const audio = this.#audios.get(identity) ?? this.#create(identity);
    audio.srcObject = stream;
    void this.#start(audio);
  }

  stop(identity: string): void {
    const audio = this.#audios.get(identity);
    if (audio === undefined) return;
    audio.srcObject = null;
    audio.remove();
    this.#audios.delete(identity);
    if (this.#audios.size === 0) this.#setBlocked(false);
  }

  /** To be called from a click or a key. */
  async unblock(): Promise<void> {
    this.#setBlocked(false);
    await Promise.all(Array.from(this.#audios.values(), (audio) => this.#start(audio)));
  }

  close(): void {
    for (const identity of [...this.#audios.keys()]) this.stop(identity);
  }

  #create(identity: string): HTMLAudioElement {
    const audio = document.createElement("audio");
    audio.dataset.identity = identity;
    audio.autoplay = true;
    this.#place.append(audio);
    this.#audios.set(identity, audio);
    return audio;
  }

  async #start(audio: HTMLAudioElement): Promise<void> {
    try {
      await audio.play();
    } catch (error) {
      // AbortError only says that a newer stream took this one's place.
      if (error instanceof DOMException && error.name === "NotAllowedError") this.#setBlocked(true);
    }
  }

  #setBlocked(blocked: boolean): void {
    if (blocked === this.blocked) return;
    this.blocked = blocked;
    this.dispatchEvent(new Event("change"));
  }
}
