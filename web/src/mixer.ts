/** Several tracks of one participant as one stream: a voice, and whispers beside it. */

/** How one track is kept flowing. */
interface Input {
  readonly source: MediaStreamAudioSourceNode;
  /** Chromium gives a remote track to WebAudio only while an element plays it, too. */
  readonly audio: HTMLAudioElement;
}

/** Reports `blocked` when the browser plays nothing before a click. */
export class Mixer extends EventTarget {
  readonly #context: AudioContext;
  readonly #output: MediaStreamAudioDestinationNode;
  readonly #inputs = new Map<MediaStreamTrack, Input>();
  readonly #listeners = new AbortController();
  #deviceId: string | null = null;

  constructor(context: AudioContext) {
    super();
    this.#context = context;
    this.#output = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    const { signal } = this.#listeners;
    context.addEventListener("statechange", () => this.#contextChanged(), { signal });
  }

  /** What is heard of them all, from now to the end. */
  get stream(): MediaStream {
    return this.#output.stream;
  }

  /** Mix these, and no others. */
  use(tracks: readonly MediaStreamTrack[]): void {
    for (const track of [...this.#inputs.keys()]) {
      if (!tracks.includes(track)) this.#remove(track);
    }
    for (const track of tracks) {
      if (!this.#inputs.has(track)) this.#add(track);
    }
  }

  /** While the tracks are heard from their own elements: from this device, null is the system's. */
  setSink(deviceId: string | null): void {
    this.#deviceId = deviceId;
    for (const { audio } of this.#inputs.values()) setSink(audio, deviceId);
  }

  /** To be called from a click or a key. */
  async unblock(): Promise<void> {
    await Promise.all([...this.#inputs.values()].map(({ audio }) => this.#start(audio)));
  }

  close(): void {
    this.#listeners.abort();
    this.use([]);
  }

  #add(track: MediaStreamTrack): void {
    const stream = new MediaStream([track]);
    const audio = new Audio();
    audio.srcObject = stream;
    audio.muted = this.#isMixing;
    setSink(audio, this.#deviceId);
    const source = this.#context.createMediaStreamSource(stream);
    source.connect(this.#output);
    this.#inputs.set(track, { source, audio });
    void this.#start(audio);
  }

  #remove(track: MediaStreamTrack): void {
    const input = this.#inputs.get(track);
    this.#inputs.delete(track);
    input?.source.disconnect();
    if (input !== undefined) input.audio.srcObject = null;
  }

  /** While the browser holds our context back, each track is heard from its own element. */
  #contextChanged(): void {
    for (const { audio } of this.#inputs.values()) audio.muted = this.#isMixing;
  }

  get #isMixing(): boolean {
    return this.#context.state === "running";
  }

  async #start(audio: HTMLAudioElement): Promise<void> {
    try {
      await audio.play();
    } catch (error) {
      if (isBlocked(error)) this.dispatchEvent(new Event("blocked"));
    }
  }
}

/** Where there is a choice; a device that is not there, or not allowed yet, leaves it as it is. */
export function setSink(audio: HTMLAudioElement, deviceId: string | null): void {
  if (!("setSinkId" in audio) || audio.sinkId === (deviceId ?? "")) return;
  audio.setSinkId(deviceId ?? "").catch((error: unknown) => {
    console.debug("the loudspeaker stays what it is", error);
  });
}

/** Whether `play` was refused for want of a click; AbortError only says that it is too late. */
export function isBlocked(error: unknown): boolean {
  return error instanceof DOMException && error.name === "NotAllowedError";
}
