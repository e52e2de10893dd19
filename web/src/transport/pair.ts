/**
 * Everything between us and one other participant of a mesh room: the current connection, what
 * waits to be sent over it, and mending it when it breaks.
 */

import { type Role, roleTowards } from "./negotiation";
import { Peer } from "./peer";
import type { Candidate, FromClient } from "./signaling";
import { parseText } from "./text";
import type { Participant, Receive } from "./types";

const FIRST_CONNECTION_MS = 10_000;
/** A `disconnected` connection often heals alone within a few packets' retransmissions. */
const HEALS_ALONE_MS = 3_000;
/** The polite side restarts; the other side only if that did not help. */
const IMPOLITE_WAITS_MS = 3_000;
const NEXT_ATTEMPT_MS = 5_000;
const RESTARTS_BEFORE_REPLACING = 2;
const MAX_WAITING_TEXTS = 100;

/** What a pair needs of the room it is in. */
export interface Surroundings {
  readonly localSid: string;
  readonly configuration: RTCConfiguration;
  readonly track: () => MediaStreamTrack | null;
  readonly send: (message: FromClient) => void;
  readonly receive: Receive;
}

export class Pair {
  participant: Participant;
  readonly #role: Role;
  readonly #room: Surroundings;
  #peer: Peer | null = null;
  /** The name of the current connection, and those of former ones, whose messages are late. */
  #name = "";
  readonly #retired = new Set<string>();
  readonly #waiting: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;

  constructor(participant: Participant, room: Surroundings) {
    this.participant = participant;
    this.#role = roleTowards(room.localSid, participant);
    this.#room = room;
  }

  get connection(): RTCPeerConnection | null {
    return this.#peer?.connection ?? null;
  }

  get audioLevel(): number | null {
    return this.#peer?.audioLevel ?? null;
  }

  /** Make a connection and offer it, in place of the current one if there is one. */
  connect(): void {
    this.#replace(randomName()).offer();
    this.#mendAfter(FIRST_CONNECTION_MS * (1 + this.#attempts));
  }

  receiveOffer(connection: string, sdp: string): void {
    if (this.#retired.has(connection)) return;
    if (connection !== this.#name) {
      // Both replaced the connection at the same time: the impolite side's offer holds.
      if (this.#peer?.unanswered === true && this.#role === "impolite") return;
      this.#replace(connection);
    }
    this.#peer?.receive({ type: "offer", sdp });
  }

  receiveAnswer(connection: string, sdp: string): void {
    if (connection === this.#name) this.#peer?.receive({ type: "answer", sdp });
  }

  receiveCandidate(connection: string, candidate: Candidate | null): void {
    if (connection === this.#name) this.#peer?.receive({ type: "candidate", candidate });
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#peer?.setTrack(track);
  }

  /** Text that cannot be sent yet waits for the data channel, the oldest giving way. */
  sendText(data: string): void {
    if (this.#peer?.textIsOpen === true) {
      this.#peer.sendText(data);
      return;
    }
    this.#waiting.push(data);
    if (this.#waiting.length > MAX_WAITING_TEXTS) this.#waiting.shift();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#peer?.close();
    this.#peer = null;
    this.#name = "";
  }

  #replace(name: string): Peer {
    clearTimeout(this.#timer);
    if (this.#peer !== null) this.#retired.add(this.#name);
    this.#peer?.close();
    this.#name = name;
    this.#peer = this.#createPeer(name);
    return this.#peer;
  }

  #createPeer(connection: string): Peer {
    const { sid: to, identity } = this.participant;
    const { send, receive, configuration, track } = this.#room;
    const stream = new MediaStream();
    return new Peer(this.#role, configuration, track(), {
      sendDescription: (type, sdp) => send({ type, to, connection, sdp }),
      sendCandidate: (candidate) => send({ type: "candidate", to, connection, candidate }),
      trackReceived: (received) => {
        stream.addTrack(received);
        receive({ type: "track_subscribed", identity, stream });
      },
      textReceived: (data) => this.#receiveText(data),
      textOpened: () => {
        for (const data of this.#waiting.splice(0)) this.#peer?.sendText(data);
      },
      connectionStateChanged: (state) => this.#connectionStateChanged(state),
      broke: (error) => {
        console.warn(`negotiation with ${identity} failed`, error);
        this.#attempts = RESTARTS_BEFORE_REPLACING;
        this.#interrupted(NEXT_ATTEMPT_MS);
      },
    });
  }

  #receiveText(data: unknown): void {
    const message = parseText(data);
    const { kind, identity } = this.participant;
    if (message?.topic === "lk.chat") {
      this.#room.receive({ type: "chat_received", identity, id: message.id, text: message.text });
    } else if (message?.topic === "lk.transcription" && kind === "agent") {
      this.#room.receive({ type: "caption_received", caption: message.caption });
    }
  }

  #connectionStateChanged(state: RTCPeerConnectionState): void {
    const { identity } = this.participant;
    if (state === "connected") {
      clearTimeout(this.#timer);
      this.#attempts = 0;
      this.#room.receive({ type: "connection_changed", identity, state: "connected" });
    } else if (state === "disconnected") {
      this.#interrupted(HEALS_ALONE_MS);
    } else if (state === "failed") {
      this.#interrupted(this.#role === "polite" ? 0 : IMPOLITE_WAITS_MS);
    }
  }

  #interrupted(mendAfterMs: number): void {
    const { identity } = this.participant;
    this.#room.receive({ type: "connection_changed", identity, state: "interrupted" });
    this.#mendAfter(mendAfterMs);
  }

  #mendAfter(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#mend(), ms);
  }

  /** aiortc cannot restart ICE: a broken connection with an agent is replaced. */
  #mend(): void {
    this.#attempts += 1;
    const restarts = this.participant.kind !== "agent" && !this.#peer?.unanswered;
    if (restarts && this.#attempts <= RESTARTS_BEFORE_REPLACING) {
      this.#peer?.restartIce();
      this.#mendAfter(NEXT_ATTEMPT_MS);
    } else {
      this.connect();
    }
  }
}

function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
