/** An SFU room: one connection to a LiveKit server, which forwards everybody's voice. */

import { type Admission, Refusal } from "../api";
import { Backoff } from "./backoff";
import { Stay, type Typed } from "./stay";
import { Tallies } from "./tally";
import type { EndReason, Received, Receive, Transport } from "./types";
import type { Stats } from "./vitals";

export interface SFUOptions {
  /** A fresh token for the same identity; called before each try. Throws Refusal. */
  readonly admit: () => Promise<Admission>;
  readonly receive: Receive;
  readonly relayOnly: boolean;
  readonly context: AudioContext;
}

export class SFUTransport implements Transport {
  readonly #options: SFUOptions;
  readonly #tallies = new Tallies();
  readonly #backoff = new Backoff();
  /** Typed while the SFU was out of reach. */
  #unsent: Typed[] = [];
  #stay: Stay | null = null;
  #wasIn = false;
  #track: MediaStreamTrack | null = null;
  #muted = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(options: SFUOptions) {
    this.#options = options;
  }

  join(): void {
    void this.#open();
  }

  leave(): void {
    this.#over = true;
    clearTimeout(this.#retry);
    this.#stay?.leave();
    this.#stay = null;
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#track = track;
    this.#publish();
  }

  setMuted(muted: boolean): void {
    this.#muted = muted;
    this.#publish();
  }

  sendChat(id: string, text: string): void {
    if (this.#wasIn) void this.#send({ id, text });
  }

  sendReception(heard: readonly string[]): void {
    void this.#stay?.sendReception(heard);
  }

  async received(identity: string): Promise<Received | null> {
    return (await this.#stay?.voices.received(identity)) ?? this.#tallies.of(identity).total;
  }

  async voiceStats(identity: string): Promise<readonly Stats[]> {
    return (await this.#stay?.voices.stats(identity)) ?? [];
  }

  audioLevel(identity: string): number | null {
    return this.#stay?.audioLevel(identity) ?? null;
  }

  connections(): ReadonlyMap<string, RTCPeerConnection> {
    return this.#stay?.connections() ?? new Map<string, RTCPeerConnection>();
  }

  async #open(): Promise<void> {
    try {
      const { url, token } = await this.#options.admit();
      if (this.#isOver()) return;
      await this.#enter(url, token);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#refused(error);
    }
  }

  async #enter(url: string, token: string): Promise<void> {
    const { context, receive, relayOnly } = this.#options;
    this.#stay = new Stay({
      context,
      relayOnly,
      tallies: this.#tallies,
      listener: {
        receive,
        greeted: () => this.#publish(),
        entered: () => this.#entered(),
        lost: () => this.#lost(),
        ended: (reason) => this.#end(reason),
      },
    });
    await this.#stay.enter(url, token);
  }

  #entered(): void {
    this.#wasIn = true;
    this.#backoff.reset();
    this.#publish();
    for (const message of this.#unsent.splice(0)) void this.#send(message);
  }

  async #send(message: Typed): Promise<void> {
    try {
      if (this.#stay === null) throw new Error("the SFU is out of reach");
      await this.#stay.sendChat(message);
    } catch (error) {
      console.debug("a message waits until we are back", error);
      this.#unsent.push(message);
    }
  }

  #publish(): void {
    this.#stay?.publish(this.#track, this.#muted);
  }

  #refused({ reason }: Refusal): void {
    if (this.#isOver()) return;
    // While we come back, our former stay may still hold the place that seems taken.
    const passes = reason === "away" || (reason === "full" && this.#wasIn);
    if (passes) this.#lost();
    else this.#end(reason);
  }

  #lost(): void {
    this.#stay = null;
    this.#options.receive({ type: "signaling_lost" });
    this.#retry = setTimeout(() => void this.#open(), this.#backoff.next());
  }

  #end(reason: EndReason): void {
    this.leave();
    this.#options.receive({ type: "ended", reason });
  }

  #isOver(): boolean {
    return this.#over;
  }
}
