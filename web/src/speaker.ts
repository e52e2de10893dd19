/** What this person hears: one `<audio data-identity>` per remote participant. */

import type { News } from "./mic";
import { isBlocked, Mixer, setSink } from "./mixer";
import { type Device, isGone, labelOf, type SoundDevices } from "./sound";

/** Which loudspeaker is used; without it the system's. */
export interface Output {
  readonly sound: SoundDevices;
  readonly deviceId: string | null;
}

/**
 * Reports `change` when the browser begins or ceases to hold sound back, and when loudspeakers
 * come, go or are chosen.
 */
export class Speaker extends EventTarget {
  /** The browser plays nothing before a click. */
  blocked = false;
  /** As chosen; null is the system's. */
  deviceId: string | null;
  /** Which device took the place of which, without being asked to. */
  news: News | null = null;
  readonly #sound: SoundDevices | null;
  /** As they were when last looked at. */
  #known: readonly Device[] = [];
  readonly #place: HTMLElement;
  readonly #context: AudioContext;
  readonly #audios = new Map<string, HTMLAudioElement>();
  readonly #mixers = new Map<string, Mixer>();

  /** Audio elements live in `place`, which nothing else renders into. */
  constructor(place: HTMLElement, context: AudioContext, output: Output | null = null) {
    super();
    this.#place = place;
    this.#context = context;
    this.#sound = output?.sound ?? null;
    this.deviceId = output?.deviceId ?? null;
    this.#sound?.addEventListener("change", () => this.#devicesChanged());
  }

  /** What can be chosen; none in browsers that leave that to the system. */
  get devices(): readonly Device[] {
    return "setSinkId" in HTMLMediaElement.prototype ? (this.#sound?.speakers ?? []) : [];
  }

  /** Let everything be heard from this device; null is the system's. */
  choose(deviceId: string | null): void {
    this.news = null;
    this.deviceId = deviceId;
    this.#route();
    this.#changed();
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
      mixer.setSink(this.deviceId);
    }
    mixer.use(stream.getAudioTracks());
    return mixer.stream;
  }

  #create(identity: string): HTMLAudioElement {
    const audio = document.createElement("audio");
    audio.dataset.identity = identity;
    audio.autoplay = true;
    // A headset's button, or another program that took the sound: a call is not paused.
    audio.addEventListener("pause", () => this.#paused(identity, audio));
    setSink(audio, this.deviceId);
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

  #paused(identity: string, audio: HTMLAudioElement): void {
    if (this.#audios.get(identity) === audio && audio.srcObject !== null) void this.#start(audio);
  }

  #setBlocked(blocked: boolean): void {
    if (blocked === this.blocked) return;
    this.blocked = blocked;
    this.#changed();
  }

  #devicesChanged(): void {
    const [before, now] = [this.#known, this.devices];
    this.#known = now;
    if (isGone(this.deviceId, before, now)) {
      const former = before.find(({ id }) => id === this.deviceId);
      this.deviceId = null;
      this.#tell(former);
    }
    this.#route();
    this.#changed();
  }

  #tell(former: Device | undefined): void {
    const name = labelOf(former?.label ?? "") || "Your speaker";
    const text = `${name} is gone. You hear everybody from this machine's own choice of speaker.`;
    this.news = { text, at: performance.now() };
  }

  #route(): void {
    for (const audio of this.#audios.values()) setSink(audio, this.deviceId);
    for (const mixer of this.#mixers.values()) mixer.setSink(this.deviceId);
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}
