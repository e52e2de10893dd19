/** The microphone: opened, chosen, measured, muted. */

import { Meter } from "./level";
import { type Device, isGone, labelOf, type SoundDevices } from "./sound";

export type MicProblem = "denied" | "no_device" | "in_use" | "insecure";

/** What happened by itself, and when (milliseconds). */
export interface News {
  readonly text: string;
  readonly at: number;
}

/** Reports `change` when it opens, fails, is muted, or devices come and go. */
export class Microphone extends EventTarget {
  problem: MicProblem | null = null;
  opening = false;
  muted = false;
  deviceId: string | null;
  /** Which device took the place of which, without being asked to. */
  news: News | null = null;
  readonly #context: AudioContext;
  readonly #sound: SoundDevices;
  /** As they were when last looked at. */
  #known: readonly Device[] = [];
  #stream: MediaStream | null = null;
  #meter: Meter | null = null;
  #attempt = 0;

  constructor(context: AudioContext, deviceId: string | null, sound: SoundDevices) {
    super();
    this.#context = context;
    this.deviceId = deviceId;
    this.#sound = sound;
    sound.addEventListener("change", () => this.#devicesChanged());
  }

  get devices(): readonly Device[] {
    return this.#sound.microphones;
  }

  get track(): MediaStreamTrack | null {
    return this.#stream?.getAudioTracks()[0] ?? null;
  }

  /** Loudness of the last moment, 0..1; 0 while muted or closed. */
  read(): number {
    return this.muted ? 0 : (this.#meter?.read() ?? 0);
  }

  /**
   * Open the chosen device, or the default one if that is gone. The former one is used until then,
   * and on if this one cannot be opened. Never throws: see `problem` and `news`.
   */
  async open(deviceId: string | null = this.deviceId): Promise<void> {
    this.news = null;
    await this.#open(deviceId);
  }

  setMuted(muted: boolean): void {
    this.muted = muted;
    if (this.track !== null) this.track.enabled = !muted;
    this.#changed();
  }

  close(): void {
    this.#attempt += 1;
    this.opening = false;
    this.news = null;
    this.#drop();
    this.#changed();
  }

  async #open(deviceId: string | null): Promise<void> {
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.opening = true;
    this.#changed();
    try {
      const stream = await openStream(deviceId);
      if (attempt === this.#attempt) this.#use(stream, deviceId);
      else stopAll(stream);
    } catch (error) {
      if (attempt === this.#attempt) this.#fail(problemOf(error));
    }
  }

  #use(stream: MediaStream, deviceId: string | null): void {
    this.#drop();
    this.#stream = stream;
    this.#meter = new Meter(this.#context, stream);
    this.deviceId = deviceId;
    this.problem = null;
    this.opening = false;
    const track = this.track;
    if (track !== null) {
      track.enabled = !this.muted;
      track.onended = () => void this.#lost(); // pulled out, or permission withdrawn
    }
    this.#changed();
    void this.#sound.look();
  }

  #fail(problem: MicProblem): void {
    this.opening = false;
    const { track } = this;
    if (track?.readyState === "live") {
      this.#tell(`That microphone cannot be used. Yours is still ${nameOf(track)}.`);
    } else {
      this.#drop();
      this.problem = problem;
    }
    this.#changed();
  }

  /** Ours is gone: what the system has instead takes its place, in the very same connections. */
  async #lost(): Promise<void> {
    const { track: former, deviceId } = this;
    if (former === null || this.opening) return;
    await this.#open(null);
    const { track } = this;
    if (track === null || track === former) return;
    this.deviceId = deviceId; // which is used again when it is back and a microphone is opened
    this.#tell(`${nameOf(former)} is gone. Your microphone is now ${nameOf(track)}.`);
    this.#changed();
  }

  #devicesChanged(): void {
    const [before, now] = [this.#known, this.devices];
    this.#known = now;
    if (isGone(this.track?.getSettings().deviceId ?? null, before, now)) void this.#lost();
    this.#changed();
  }

  #tell(text: string): void {
    this.news = { text, at: performance.now() };
  }

  #drop(): void {
    if (this.#stream !== null) stopAll(this.#stream);
    this.#meter?.close();
    this.#stream = null;
    this.#meter = null;
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

function nameOf({ label }: MediaStreamTrack): string {
  return label === "" ? "another one" : labelOf(label);
}

class Insecure extends Error {}

async function openStream(deviceId: string | null): Promise<MediaStream> {
  // Browsers hide the microphone from pages that came over plain http from another machine.
  if (!window.isSecureContext) throw new Insecure();
  const audio: MediaTrackConstraints = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
  };
  if (deviceId === null) return navigator.mediaDevices.getUserMedia({ audio });
  try {
    // As a mere wish, Chromium keeps to the default device.
    const chosen = { ...audio, deviceId: { exact: deviceId } };
    return await navigator.mediaDevices.getUserMedia({ audio: chosen });
  } catch (error) {
    if (!isAbsent(error)) throw error;
    return navigator.mediaDevices.getUserMedia({ audio });
  }
}

/** No device has this id now. */
function isAbsent(error: unknown): boolean {
  const { name } = error as { name?: unknown }; // OverconstrainedError is no Error everywhere
  return name === "OverconstrainedError" || name === "NotFoundError";
}

function stopAll(stream: MediaStream): void {
  for (const track of stream.getTracks()) {
    track.onended = null;
    track.stop();
  }
}

export function problemOf(error: unknown): MicProblem {
  if (error instanceof Insecure) return "insecure";
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return "denied";
  if (name === "NotReadableError" || name === "AbortError") return "in_use";
  return "no_device";
}
