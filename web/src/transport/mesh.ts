/** A mesh room: one signalling socket, and a connection to everybody in it. */

import { type Admission, Refusal } from "../api";
import { Backoff } from "./backoff";
import type { NegotiationEvent } from "./negotiation";
import { Pair } from "./pair";
import { canRelay } from "./relay";
import { type FromClient, type FromGateway, Signaling } from "./signaling";
import { Tallies } from "./tally";
import { chatText, receptionText } from "./text";
import type { EndReason, Participant, Received, Receive, Transport } from "./types";

/** How often we see whether paths still work; `Vitals` counts on it. */
const LOOK_INTERVAL_MS = 1_000;

export interface MeshOptions {
  /** A fresh token for the same identity; called before each try. Throws Refusal. */
  readonly admit: () => Promise<Admission>;
  readonly receive: Receive;
  readonly relayOnly: boolean;
}

export class MeshTransport implements Transport {
  readonly #options: MeshOptions;
  readonly #pairs = new Map<string, Pair>();
  readonly #backoff = new Backoff();
  readonly #tallies = new Tallies();
  #signaling: Signaling | null = null;
  #local: Participant | null = null;
  #iceServers: RTCIceServer[] = [];
  #track: MediaStreamTrack | null = null;
  #muted = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #over = false;
  #looking: ReturnType<typeof setInterval> | undefined;
  readonly #listeners = new AbortController();

  constructor(options: MeshOptions) {
    this.#options = options;
  }

  join(): void {
    const { signal } = this.#listeners;
    window.addEventListener("online", () => this.#suspect(), { signal });
    this.#looking = setInterval(() => this.#look(), LOOK_INTERVAL_MS);
    void this.#open();
  }

  leave(): void {
    this.#send({ type: "leave" });
    this.#close();
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#track = track;
    for (const pair of this.#pairs.values()) pair.setTrack(track);
  }

  setMuted(muted: boolean): void {
    if (muted === this.#muted) return;
    this.#muted = muted;
    this.#send({ type: "update", muted });
  }

  sendChat(id: string, text: string): void {
    for (const pair of this.#pairs.values()) pair.sendText(chatText(id, text));
  }

  sendReception(heard: readonly string[]): void {
    const text = receptionText(heard);
    for (const pair of this.#pairs.values()) pair.sendTextNow(text);
  }

  async received(identity: string): Promise<Received | null> {
    const connection = this.#pairWith(identity)?.connection ?? null;
    if (connection !== null) this.#tallies.of(identity).count(await connection.getStats());
    return this.#tallies.of(identity).total;
  }

  audioLevel(identity: string): number | null {
    return this.#pairWith(identity)?.audioLevel ?? null;
  }

  connections(): ReadonlyMap<string, RTCPeerConnection> {
    const connections = new Map<string, RTCPeerConnection>();
    for (const { participant, connection } of this.#pairs.values()) {
      if (connection !== null) connections.set(participant.identity, connection);
    }
    return connections;
  }

  async #open(): Promise<void> {
    try {
      const { url, token, ice_servers } = await this.#options.admit();
      if (this.#isOver()) return;
      if (this.#options.relayOnly && !canRelay(ice_servers)) {
        this.#end("no_relay");
        return;
      }
      this.#signaling = new Signaling(url, token, {
        received: (message) => this.#received(message),
        lost: () => this.#lost(),
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#refused(error);
    }
  }

  #refused({ reason }: Refusal): void {
    if (this.#isOver()) return;
    // While we come back, our former stay may still hold the place that seems taken.
    const passes = reason === "away" || (reason === "full" && this.#local !== null);
    if (passes) this.#lost();
    else this.#end(reason);
  }

  /** Connections that still work go on until `joined` tells our new sid. */
  #lost(): void {
    this.#signaling = null;
    this.#options.receive({ type: "signaling_lost" });
    this.#retry = setTimeout(() => void this.#open(), this.#backoff.next());
  }

  #received(message: FromGateway): void {
    switch (message.type) {
      case "joined":
        this.#joined(message.participant, message.participants, message.ice_servers);
        break;
      case "participant_joined":
        this.#meet(message.participant);
        this.#options.receive(message);
        break;
      case "participant_updated":
        this.#updated(message.participant);
        break;
      case "participant_left":
        this.#pairs.get(message.sid)?.close();
        this.#pairs.delete(message.sid);
        this.#options.receive(message);
        break;
      case "offer":
      case "answer":
      case "candidate":
        this.#pairs.get(message.from)?.receive(eventOf(message));
        break;
      case "error":
        console.warn(`the gateway refused a message: ${message.code}: ${message.message}`);
        break;
      case "closing":
        // After a shutdown the socket closes, and we come back as after any other loss.
        if (message.reason !== "shutdown") this.#end(message.reason);
        break;
    }
  }

  /** We are in: the newcomer offers to everybody who is there already (docs/protocol.md). */
  #joined(local: Participant, participants: readonly Participant[], ice: RTCIceServer[]): void {
    this.#backoff.reset();
    this.#closePairs();
    this.#local = local;
    this.#iceServers = ice;
    this.#options.receive({ type: "joined", local, participants });
    if (local.muted !== this.#muted) this.#send({ type: "update", muted: this.#muted });
    for (const participant of participants) this.#meet(participant)?.offer();
  }

  #pairWith(identity: string): Pair | undefined {
    for (const pair of this.#pairs.values()) {
      if (pair.participant.identity === identity) return pair;
    }
    return undefined;
  }

  #updated(participant: Participant): void {
    const pair = this.#pairs.get(participant.sid);
    if (pair !== undefined) pair.participant = participant;
    this.#options.receive({ type: "participant_updated", participant });
  }

  #meet(participant: Participant): Pair | null {
    if (this.#local === null) return null;
    const pair = new Pair(participant, {
      local: this.#local,
      configuration: {
        iceServers: this.#iceServers,
        iceTransportPolicy: this.#options.relayOnly ? "relay" : "all",
        bundlePolicy: "max-bundle",
      },
      track: () => this.#track,
      send: (message) => this.#send(message),
      receive: this.#options.receive,
    });
    this.#pairs.set(participant.sid, pair);
    return pair;
  }

  #send(message: FromClient): void {
    this.#signaling?.send(message);
  }

  #look(): void {
    for (const pair of this.#pairs.values()) void pair.look();
  }

  /** Our network may be another one. */
  #suspect(): void {
    for (const pair of this.#pairs.values()) pair.suspect();
  }

  #end(reason: EndReason): void {
    this.#close();
    this.#options.receive({ type: "ended", reason });
  }

  #close(): void {
    this.#over = true;
    this.#listeners.abort();
    clearInterval(this.#looking);
    clearTimeout(this.#retry);
    this.#signaling?.close();
    this.#signaling = null;
    this.#closePairs();
  }

  #closePairs(): void {
    for (const pair of this.#pairs.values()) pair.close();
    this.#pairs.clear();
  }

  #isOver(): boolean {
    return this.#over;
  }
}

type Negotiated = Extract<FromGateway, { type: "offer" | "answer" | "candidate" }>;

function eventOf(message: Negotiated): NegotiationEvent {
  const { connection } = message;
  if (message.type === "candidate") {
    return { type: "candidate_received", connection, candidate: message.candidate };
  }
  return { type: `${message.type}_received`, connection, sdp: message.sdp };
}
