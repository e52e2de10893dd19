/** A mesh room: one signalling socket, and a connection to everybody in it. */

import type { Admission } from "../api";
import { GatewayLink } from "./link";
import type { NegotiationEvent } from "./negotiation";
import { Pair } from "./pair";
import { canRelay } from "./relay";
import type { FromClient, FromGateway } from "./signaling";
import { Tallies } from "./tally";
import { chatText, receptionText } from "./text";
import type { EndReason, LeaveReason, Participant, Received, Receive, Transport } from "./types";
import { Vigil } from "./vigil";
import type { Stats } from "./vitals";

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
  readonly #link: GatewayLink;
  readonly #vigil = new Vigil();
  readonly #tallies = new Tallies();
  #local: Participant | null = null;
  #iceServers: RTCIceServer[] = [];
  #track: MediaStreamTrack | null = null;
  #muted = false;
  #looking: ReturnType<typeof setInterval> | undefined;
  readonly #listeners = new AbortController();

  constructor(options: MeshOptions) {
    this.#options = options;
    this.#link = new GatewayLink(() => this.#admit(), {
      received: (message) => this.#received(message),
      lost: () => this.#options.receive({ type: "signaling_lost" }),
      refused: (reason) => this.#end(reason),
    });
  }

  join(): void {
    const { signal } = this.#listeners;
    window.addEventListener("online", () => this.#suspect(), { signal });
    this.#looking = setInterval(() => this.#look(), LOOK_INTERVAL_MS);
    this.#link.open();
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

  async voiceStats(identity: string): Promise<readonly Stats[]> {
    const connection = this.#pairWith(identity)?.connection ?? null;
    return connection === null ? [] : [await connection.getStats()];
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

  async #admit(): Promise<Admission> {
    const admission = await this.#options.admit();
    if (this.#options.relayOnly && !canRelay(admission.ice_servers)) this.#end("no_relay");
    return admission;
  }

  #received(message: FromGateway): void {
    switch (message.type) {
      case "joined":
        this.#joined(message.participant, message.participants, message.ice_servers);
        break;
      case "resumed":
        this.#renewServers(message.ice_servers);
        this.#options.receive({ type: "signaling_resumed" });
        break;
      case "ice_servers":
        this.#renewServers(message.ice_servers);
        break;
      case "participant_joined":
        this.#arrived(message.participant);
        break;
      case "participant_updated":
        this.#updated(message.participant);
        break;
      case "participant_left":
        this.#left(message.sid, message.reason);
        break;
      case "participant_detached":
        this.#vigil.detached(message.sid);
        this.#keepVigil();
        break;
      case "participant_attached":
        this.#vigil.settled(message.sid);
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
      case "pong": // the link's business
        break;
    }
  }

  #joined(local: Participant, participants: readonly Participant[], ice: RTCIceServer[]): void {
    const isRestored = this.#local?.sid === local.sid;
    this.#local = local;
    this.#iceServers = ice;
    if (isRestored) this.#restored(participants);
    else this.#entered(local, participants);
    if (local.muted !== this.#muted) this.#send({ type: "update", muted: this.#muted });
  }

  /** We are in: the newcomer offers to everybody who is there already (docs/protocol.md). */
  #entered(local: Participant, participants: readonly Participant[]): void {
    this.#closePairs();
    this.#options.receive({ type: "joined", local, participants });
    for (const participant of participants) this.#meet(participant)?.offer();
  }

  /** The gateway was restarted and knows us, and others by and by: connections are kept. */
  #restored(participants: readonly Participant[]): void {
    const present = new Set(participants.map(({ sid }) => sid));
    const missing = [...this.#pairs.keys()].filter((sid) => !present.has(sid));
    this.#vigil.expect(missing, performance.now());
    this.#options.receive({ type: "signaling_resumed" });
    for (const participant of participants) this.#arrived(participant)?.offer();
  }

  /** Somebody is here: one who was here before, or a new one, whose pair is given back. */
  #arrived(participant: Participant): Pair | null {
    const { sid, identity } = participant;
    this.#vigil.settled(sid);
    if (this.#pairs.has(sid)) {
      this.#updated(participant);
      return null;
    }
    // A gateway that has forgotten them could not tell that they left.
    const former = this.#pairWith(identity)?.participant.sid;
    if (former !== undefined) this.#left(former, "replaced");
    const pair = this.#meet(participant);
    this.#options.receive({ type: "participant_joined", participant });
    return pair;
  }

  #left(sid: string, reason: LeaveReason): void {
    this.#vigil.settled(sid);
    const pair = this.#pairs.get(sid);
    if (pair === undefined) return;
    pair.close();
    this.#pairs.delete(sid);
    const { identity } = pair.participant;
    this.#options.receive({ type: "participant_left", identity, reason });
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
      configuration: () => this.#configuration(),
      track: () => this.#track,
      send: (message) => this.#send(message),
      receive: this.#options.receive,
    });
    this.#pairs.set(participant.sid, pair);
    return pair;
  }

  #configuration(): RTCConfiguration {
    return {
      iceServers: this.#iceServers,
      iceTransportPolicy: this.#options.relayOnly ? "relay" : "all",
      bundlePolicy: "max-bundle",
    };
  }

  /** For connections that are made from now on, and for what they gather when they restart ICE. */
  #renewServers(servers: RTCIceServer[]): void {
    this.#iceServers = servers;
    for (const connection of this.connections().values()) {
      connection.setConfiguration(this.#configuration());
    }
  }

  #send(message: FromClient): void {
    this.#link.send(message);
  }

  #look(): void {
    for (const pair of this.#pairs.values()) void pair.look();
    this.#keepVigil();
  }

  /** Be a witness of who lives, and see who is gone. */
  #keepVigil(): void {
    const heardAt = (sid: string) => this.#pairs.get(sid)?.heardAt ?? -Infinity;
    const { alive, gone } = this.#vigil.look(heardAt, performance.now());
    for (const sid of alive) this.#send({ type: "witness", sid });
    for (const sid of gone) this.#left(sid, "vanished");
  }

  /** Our network may be another one. */
  #suspect(): void {
    for (const pair of this.#pairs.values()) pair.suspect();
  }

  #end(reason: EndReason): void {
    if (this.#listeners.signal.aborted) return;
    this.#close();
    this.#options.receive({ type: "ended", reason });
  }

  #close(): void {
    this.#listeners.abort();
    clearInterval(this.#looking);
    this.#link.close();
    this.#closePairs();
  }

  #closePairs(): void {
    for (const pair of this.#pairs.values()) pair.close();
    this.#pairs.clear();
    this.#vigil.clear();
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
