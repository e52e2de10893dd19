/** The microphone: opened, chosen, measured, muted. */

import { Meter } from "./level";

export type MicProblem = "denied" | "no_device" | "in_use" | "insecure";

export interface Device {
  readonly id: string;
  readonly label: string;
}

/** Reports `change` when it opens, fails, is muted, or devices come and go. */
export class Microphone extends EventTarget {
  problem: MicProblem | null = null;
  opening = false;
  muted = false;
  devices: readonly Device[] = [];
  deviceId: string | null;
  readonly #context: AudioContext;
  #stream: MediaStream | null = null;
  #meter: Meter | null = null;
  #attempt = 0;

  constructor(context: AudioContext, deviceId: string | null) {
    super();
    this.#context = context;
    this.deviceId = deviceId;
    (navigator.mediaDevices as MediaDevices | undefined)?.addEventListener("devicechange", () => {
      void this.#listDevices();
    });
  }

  get track(): MediaStreamTrack | null {
    return this.#stream?.getAudioTracks()[0] ?? null;
  }

  /** Loudness of the last moment, 0..1; 0 while muted or closed. */
  read(): number {
    return this.muted ? 0 : (this.#meter?.read() ?? 0);
  }

  /** Open the chosen device, or the default one if that is gone. Never throws: see `problem`. */
  async open(deviceId: string | null = this.deviceId): Promise<void> {
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

  setMuted(muted: boolean): void {
    this.muted = muted;
    if (this.track !== null) this.track.enabled = !muted;
    this.#changed();
  }

  close(): void {
    this.#attempt += 1;
    this.opening = false;
    this.#drop();
    this.#changed();
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
      track.onended = () => this.#fail("no_device"); // pulled out, or permission withdrawn
    }
    this.#changed();
    void this.#listDevices();
  }

  #fail(problem: MicProblem): void {
    this.#drop();
    this.problem = problem;
    this.opening = false;
    this.#changed();
  }

  #drop(): void {
    if (this.#stream !== null) stopAll(this.#stream);
    this.#meter?.close();
    this.#stream = null;
    this.#meter = null;
  }

  async #listDevices(): Promise<void> {
    const devices = await navigator.mediaDevices.enumerateDevices();
    this.devices = devices
      .filter(({ kind, deviceId }) => kind === "audioinput" && deviceId !== "")
      .map(({ deviceId, label }) => ({ id: deviceId, label }));
    this.#changed();
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
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
  return navigator.mediaDevices.getUserMedia({ audio: { ...audio, deviceId } });
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
