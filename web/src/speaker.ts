/** What this person hears: one `<audio data-identity>` per remote participant. */

import { isBlocked, Mixer } from "./mixer";

/** Reports `change` when the browser begins or ceases to hold sound back. */
export class Speaker extends EventTarget {
  /** The browser plays nothing before a click. */
  blocked = false;
  readonly #place: HTMLElement;
  readonly #context: AudioContext;
  readonly #audios = new Map<string, HTMLAudioElement>();
  readonly #mixers = new Map<string, Mixer>();

  /** Audio elements live in `place`, which nothing else renders into. */
  constructor(place: HTMLElement, context: AudioContext) {
    super();
    this.#place = place;
    this.#context = context;
  }

  /**
   * Play a stream in place of the former one. What has `several` tracks, now or later, is heard
   * through one stream that stays the same. Returns what is heard.
   */
  play(identity: string, stream: MediaStream, several = false): MediaStream {
    const heard = several ? this.#mix(identity, stream) : stream;
    const audio = this.#audios.get(identity) ?? this.#create(identity);
    if (audio.srcObject !== heard) audio.srcObject = heard;
    void this.#start(audio);
    return heard;
  }

  stop(identity: string): void {
    const audio = this.#audios.get(identity);
    if (audio === undefined) return;
    audio.srcObject = null;
    audio.remove();
    this.#audios.delete(identity);
    this.#mixers.get(identity)?.close();
    this.#mixers.delete(identity);
    if (this.#audios.size === 0) this.#setBlocked(false);
  }

  /** To be called from a click or a key. */
  async unblock(): Promise<void> {
    this.#setBlocked(false);
    await Promise.all([
      ...Array.from(this.#audios.values(), (audio) => this.#start(audio)),
      ...Array.from(this.#mixers.values(), (mixer) => mixer.unblock()),
    ]);
  }

  close(): void {
    for (const identity of [...this.#audios.keys()]) this.stop(identity);
  }

  #mix(identity: string, stream: MediaStream): MediaStream {
    const mixer = this.#mixers.get(identity) ?? new Mixer(this.#context);
    if (!this.#mixers.has(identity)) {
      this.#mixers.set(identity, mixer);
      mixer.addEventListener("blocked", () => this.#setBlocked(true));
    }
    mixer.use(stream.getAudioTracks());
    return mixer.stream;
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
      if (isBlocked(error)) this.#setBlocked(true);
    }
  }

  #setBlocked(blocked: boolean): void {
    if (blocked === this.blocked) return;
    this.blocked = blocked;
    this.dispatchEvent(new Event("change"));
  }
}
