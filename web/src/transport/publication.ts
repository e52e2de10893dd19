/** Our microphone as a LiveKit track: one wish at a time is made true, the latest one last. */

import {
  LocalAudioTrack,
  type LocalParticipant,
  type LocalTrack,
  ParticipantEvent,
  Track,
  type TrackPublishOptions,
} from "livekit-client";

/** As a mesh sends it (Chromium's Opus without a limit), so that topologies can be compared. */
const OPTIONS: TrackPublishOptions = {
  source: Track.Source.Microphone,
  name: "microphone",
  audioPreset: { maxBitrate: 32_000 },
  dtx: false,
  red: false,
};

export class Publication {
  readonly #participant: LocalParticipant;
  readonly #context: AudioContext;
  readonly #mutedByHost: () => void;
  #track: MediaStreamTrack | null = null;
  #muted = false;
  #settling = false;
  #closed = false;

  constructor(participant: LocalParticipant, context: AudioContext, mutedByHost: () => void) {
    this.#participant = participant;
    this.#context = context;
    this.#mutedByHost = mutedByHost;
    participant.on(ParticipantEvent.TrackMuted, () => this.#mutedNow());
  }

  /** What shall be published. Never throws: what fails now is tried with the next wish. */
  set(track: MediaStreamTrack | null, muted: boolean): void {
    this.#track = track;
    this.#muted = muted;
    void this.#settle();
  }

  close(): void {
    this.#closed = true;
  }

  /** LiveKit does what a host asks before it tells us; we make that our wish. */
  #mutedNow(): void {
    // It mutes what ended, too, and another track is about to take its place.
    const isEnded = this.#track?.readyState === "ended";
    if (this.#closed || this.#muted || this.#settling || isEnded) return;
    this.#muted = true;
    this.#mutedByHost();
  }

  async #settle(): Promise<void> {
    if (this.#settling) return;
    this.#settling = true;
    try {
      for (let step = this.#nextStep(); step !== null; step = this.#nextStep()) await step();
    } catch (error) {
      if (!this.#isClosed()) console.warn("the microphone could not be published", error);
    } finally {
      this.#settling = false;
    }
  }

  /** What is still to do until the SFU has what we wish; null if nothing is. */
  #nextStep(): (() => Promise<unknown>) | null {
    if (this.#closed) return null;
    const published = this.#participant.getTrackPublication(Track.Source.Microphone)?.audioTrack;
    const [track, muted] = [this.#track, this.#muted];
    if (published === undefined) return track === null ? null : () => this.#publish(track, muted);
    if (!(published instanceof LocalAudioTrack)) return null;
    if (track === null) return () => this.#participant.unpublishTrack(published as LocalTrack, false);
    if (published.mediaStreamTrack !== track) return () => published.replaceTrack(track, true);
    if (published.isMuted === muted) return null;
    return () => (muted ? published.mute() : published.unmute());
  }

  async #publish(track: MediaStreamTrack, muted: boolean): Promise<void> {
    const local = new LocalAudioTrack(track, undefined, true, this.#context);
    if (muted) await local.mute();
    await this.#participant.publishTrack(local as LocalTrack, OPTIONS);
  }

  #isClosed(): boolean {
    return this.#closed;
  }
}
