/** One person's visit to one room: joins microphone, transport, speaker and `Room`. */

import { type Admission, readRoom, Refusal, requestToken } from "./api";
import { loudness, Meter } from "./level";
import { readToken, writeToken } from "./memory";
import type { Microphone } from "./mic";
import { Reception } from "./reception";
import { Room } from "./room";
import type { Speaker } from "./speaker";
import { Summons } from "./summons";
import { Survey } from "./survey";
import { MeshTransport } from "./transport/mesh";
import { MAX_CHAT_CHARS } from "./transport/text";
import type { Topology, Transport, TransportEvent } from "./transport/types";

const LEVEL_INTERVAL_MS = 40;
/** A token is valid for six hours (docs/protocol.md), and a visit may be longer. */
const RENEWAL_INTERVAL_MS = 3_600_000;

export interface Instruments {
  readonly context: AudioContext;
  readonly mic: Microphone;
  readonly speaker: Speaker;
}

export interface VisitOptions {
  readonly room: string;
  readonly name: string;
  readonly relayOnly: boolean;
  /** Of the room, if it is not there yet. */
  readonly topology: Topology | null;
}

export class Visit {
  readonly room: Room;
  readonly mic: Microphone;
  readonly speaker: Speaker;
  /** Until the first admission says what the room is, one for a mesh that has not joined. */
  transport: Transport;
  topology: Topology = "mesh";
  readonly #options: VisitOptions;
  readonly #context: AudioContext;
  readonly #reception: Reception;
  readonly #survey: Survey;
  readonly #summons: Summons;
  readonly #meters = new Map<string, Meter>();
  readonly #listeners = new AbortController();
  #ticking: ReturnType<typeof setInterval> | undefined;
  #renewing: ReturnType<typeof setInterval> | undefined;
  #messages = 0;

  constructor(options: VisitOptions, { context, mic, speaker }: Instruments) {
    this.#options = options;
    this.#context = context;
    this.mic = mic;
    this.speaker = speaker;
    this.room = new Room(options.room, performance.now());
    this.transport = this.#mesh(() => this.#admit());
    this.#reception = new Reception({
      received: (identity) => this.transport.received(identity),
      sendReception: (heard) => this.transport.sendReception(heard),
    });
    this.#survey = new Survey({ voiceStats: (identity) => this.transport.voiceStats(identity) });
    this.#summons = new Summons(() => readRoom(options.room, readToken(options.room) ?? ""));
  }

  join(): void {
    const { signal } = this.#listeners;
    this.mic.addEventListener("change", () => this.#micChanged(), { signal });
    window.addEventListener("pagehide", () => this.leave(), { signal });
    this.#ticking = setInterval(() => this.#tick(), LEVEL_INTERVAL_MS);
    this.#renewing = setInterval(() => void this.#renew(), RENEWAL_INTERVAL_MS);
    this.#micChanged();
    this.transport.join();
  }

  /** Idempotent. The microphone and all sound are off afterwards. */
  leave(): void {
    this.transport.leave();
    this.#stop();
  }

  sendChat(text: string): void {
    const trimmed = text.trim().slice(0, MAX_CHAT_CHARS);
    if (trimmed === "") return;
    this.#messages += 1;
    // On an SFU it names a text stream as well, which is to differ from those of others.
    const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}-${this.#messages}`;
    this.transport.sendChat(id, trimmed);
    this.room.sentChat(id, trimmed, performance.now());
  }

  /** Routing is changed, and an agent called, with the token of this tab. */
  async #renew(): Promise<void> {
    try {
      await this.#requestToken();
    } catch (error) {
      console.debug("the token is renewed an hour later", error);
    }
  }

  async #requestToken(): Promise<Admission> {
    const { room, name } = this.#options;
    // A server that was restarted has forgotten the room, and connections may have outlived it.
    const topology = this.room.local === null ? this.#options.topology : this.topology;
    const admission = await requestToken(room, name, readToken(room), topology);
    writeToken(room, admission.token);
    return admission;
  }

  async #admit(): Promise<Admission> {
    const admission = await this.#requestToken();
    this.room.expect(admission.agent?.name ?? null);
    if (admission.topology !== this.topology) await this.#change(admission);
    return admission;
  }

  /** The room is of another kind than we thought: whoever asked for the admission gives up. */
  async #change(admission: Admission): Promise<void> {
    let unused: Admission | null = admission;
    const admit = async () => {
      const first = unused;
      unused = null;
      return first ?? this.#admit();
    };
    const transport = admission.topology === "sfu" ? await this.#sfu(admit) : this.#mesh(admit);
    this.transport.leave();
    if (this.#listeners.signal.aborted) return;
    this.transport = transport;
    this.topology = admission.topology;
    this.#micChanged();
    transport.join();
  }

  #mesh(admit: () => Promise<Admission>): Transport {
    return new MeshTransport({ admit, receive: this.#receive, relayOnly: this.#options.relayOnly });
  }

  /** The SFU's client is a large part of the page; only who needs it loads it. */
  async #sfu(admit: () => Promise<Admission>): Promise<Transport> {
    const { SFUTransport } = await import("./transport/sfu").catch(() => {
      throw new Refusal("away", "The server does not answer.");
    });
    const { relayOnly } = this.#options;
    return new SFUTransport({ admit, receive: this.#receive, relayOnly, context: this.#context });
  }

  readonly #receive = (event: TransportEvent): void => {
    this.#received(event);
  };

  #received(event: TransportEvent): void {
    if (event.type === "track_subscribed") {
      this.#hear(event.identity, event.stream, event.several);
    }
    if (event.type === "track_unsubscribed" || event.type === "participant_left") {
      this.#unhear(event.identity);
    }
    if (event.type === "joined") this.#unhearAllBut(event.participants.map((p) => p.identity));
    if (event.type === "muted_by_host") this.mic.setMuted(true);
    if (event.type === "ended") this.#stop();
    this.room.receive(event, performance.now());
  }

  #hear(identity: string, stream: MediaStream, several: boolean): void {
    const heard = this.speaker.play(identity, stream, several);
    this.#meters.get(identity)?.close();
    this.#meters.set(identity, new Meter(this.#context, heard));
  }

  #unhear(identity: string): void {
    this.speaker.stop(identity);
    this.#meters.get(identity)?.close();
    this.#meters.delete(identity);
  }

  #unhearAllBut(present: readonly string[]): void {
    for (const identity of [...this.#meters.keys()]) {
      if (!present.includes(identity)) this.#unhear(identity);
    }
  }

  #micChanged(): void {
    this.transport.setTrack(this.mic.track);
    this.transport.setMuted(this.mic.muted || this.mic.track === null);
  }

  #tick(): void {
    const levels = new Map<string, number>();
    const local = this.room.local?.participant.identity;
    if (local !== undefined) levels.set(local, this.mic.read());
    for (const [identity, meter] of this.#meters) levels.set(identity, this.#read(identity, meter));
    this.room.receiveLevels(levels, performance.now());
    this.#summons.tick(this.#isAgentMissing(), performance.now());
    void this.#tellReception();
    void this.#lookAtQuality();
  }

  #isAgentMissing(): boolean {
    const { local, agent, expected, signaling } = this.room;
    const isHere = local !== null && signaling.state === "joined";
    return this.topology === "sfu" && isHere && expected !== null && agent === null;
  }

  async #tellReception(): Promise<void> {
    const identity = this.room.local?.participant.identity;
    if (identity === undefined) return;
    const heard = await this.#reception.tick([...this.room.others.keys()], performance.now());
    if (heard === null) return;
    this.room.receive({ type: "reception_received", identity, heard }, performance.now());
  }

  async #lookAtQuality(): Promise<void> {
    const qualities = await this.#survey.tick([...this.room.others.keys()], performance.now());
    if (qualities !== null) this.room.receiveQualities(qualities);
  }

  /** Before the first click the browser may not run our context; the packets tell, too. */
  #read(identity: string, meter: Meter): number {
    if (this.#context.state === "running") return meter.read();
    return loudness(this.transport.audioLevel(identity) ?? 0);
  }

  #stop(): void {
    clearInterval(this.#ticking);
    clearInterval(this.#renewing);
    this.#listeners.abort();
    for (const identity of [...this.#meters.keys()]) this.#unhear(identity);
    this.speaker.close();
    this.mic.close();
  }
}
