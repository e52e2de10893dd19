/**
 * Everything between us and one other participant of a mesh room: performs what `Negotiation`
 * says, keeps text until it can be sent, and mends the connection when it breaks.
 */

import { Negotiation, type NegotiationAction, type NegotiationEvent, roleTowards } from "./negotiation";
import { Peer } from "./peer";
import type { Candidate, FromClient } from "./signaling";
import { ChatAllowance, parseText } from "./text";
import type { Participant, Receive } from "./types";

const FIRST_CONNECTION_MS = 10_000;
/** A `disconnected` connection often heals alone. */
const HEALS_ALONE_MS = 3_000;
/** Of two browsers the polite one restarts ICE; the other only if that did not help. */
const IMPOLITE_WAITS_MS = 3_000;
/** An agent replaces what broke by itself, and sooner than we notice. */
const AGENT_REPLACES_MS = 4_000;
const NEXT_ATTEMPT_MS = 5_000;
const LAST_ATTEMPT_MS = 30_000;
const ICE_RESTARTS = 2;
const MAX_WAITING_TEXTS = 100;

/** What a pair needs of the room it is in. */
export interface Surroundings {
  readonly local: Participant;
  readonly configuration: RTCConfiguration;
  readonly track: () => MediaStreamTrack | null;
  readonly send: (message: FromClient) => void;
  readonly receive: Receive;
}

export class Pair {
  participant: Participant;
  readonly #room: Surroundings;
  readonly #isPolite: boolean;
  readonly #negotiation: Negotiation;
  #peer: Peer | null = null;
  /** Resolved once all events so far are settled; never rejected. */
  #settled: Promise<void> = Promise.resolve();
  readonly #waiting: string[] = [];
  readonly #chats = new ChatAllowance();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;

  constructor(participant: Participant, room: Surroundings) {
    this.participant = participant;
    this.#room = room;
    const role = roleTowards(room.local, participant);
    this.#isPolite = role === "polite";
    this.#negotiation = new Negotiation(role);
  }

  get connection(): RTCPeerConnection | null {
    return this.#peer?.connection ?? null;
  }

  get audioLevel(): number | null {
    return this.#peer?.audioLevel ?? null;
  }

  /** As the newcomer: make the pair's connection and offer it. */
  offer(): void {
    this.#give({ type: "negotiation_needed" });
    this.#mendAfter(FIRST_CONNECTION_MS);
  }

  /** The peer sent this through the gateway. */
  receive(event: NegotiationEvent): void {
    this.#give(event);
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#peer?.setTrack(track);
  }

  /** Text that cannot be sent yet waits for the data channel, the oldest giving way. */
  sendText(data: string): void {
    this.#waiting.push(data);
    if (this.#waiting.length > MAX_WAITING_TEXTS) this.#waiting.shift();
    this.#sendWaiting();
  }

  /** Text that is of no use later: who cannot be reached now misses it. */
  sendTextNow(data: string): void {
    this.#peer?.sendText(data);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#peer?.close();
    this.#peer = null;
  }

  /** Each event is settled before the next one, which is what `Negotiation` relies on. */
  #give(event: NegotiationEvent): void {
    this.#settled = this.#settled.then(() => this.#settle(event));
  }

  async #settle(event: NegotiationEvent): Promise<void> {
    for (const action of this.#negotiation.receive(event)) {
      if (this.#closed) return;
      try {
        await this.#perform(action);
      } catch (error) {
        if (this.#isClosed()) return;
        console.warn(`negotiation with ${this.participant.identity} failed`, error);
        this.#interrupted(NEXT_ATTEMPT_MS);
        const { connection } = action;
        await this.#settle({ type: "description_refused", connection });
        return;
      }
    }
  }

  async #perform(action: NegotiationAction): Promise<void> {
    if (action.type === "open_connection") this.#openPeer(action.connection);
    else if (action.type === "close_connection") this.#closePeer();
    else if (this.#peer !== null) await this.#describe(this.#peer, action);
  }

  async #describe(peer: Peer, action: NegotiationAction): Promise<void> {
    switch (action.type) {
      case "send_offer":
        this.#send("offer", action.connection, await peer.offer());
        break;
      case "send_answer":
        this.#send("answer", action.connection, await peer.answer());
        break;
      case "accept_offer":
        await peer.accept("offer", action.sdp);
        break;
      case "accept_answer":
        await peer.accept("answer", action.sdp);
        break;
      case "roll_back":
        await peer.rollBack();
        break;
      case "add_candidate":
        await peer.addCandidate(action.candidate);
        break;
    }
  }

  #send(type: "offer" | "answer", connection: string, sdp: string): void {
    if (!this.#closed) this.#room.send({ type, to: this.participant.sid, connection, sdp });
  }

  #openPeer(connection: string): void {
    const { sid: to, identity } = this.participant;
    const { send, receive, configuration, track } = this.#room;
    const stream = new MediaStream();
    this.#peer = new Peer(configuration, track(), {
      candidateFound: (candidate: Candidate | null) => {
        send({ type: "candidate", to, connection, candidate });
      },
      trackReceived: (received) => {
        stream.addTrack(received);
        receive({ type: "track_subscribed", identity, stream, several: false });
      },
      textReceived: (data) => this.#receiveText(data),
      textOpened: () => this.#sendWaiting(),
      connectionStateChanged: (state) => this.#connectionStateChanged(state),
      negotiationNeeded: () => this.#give({ type: "negotiation_needed" }),
    });
  }

  #closePeer(): void {
    this.#peer?.close();
    this.#peer = null;
  }

  #sendWaiting(): void {
    while (this.#peer?.canSendText === true) {
      const data = this.#waiting.shift();
      if (data === undefined) return;
      this.#peer.sendText(data);
    }
  }

  #receiveText(data: unknown): void {
    const message = parseText(data);
    const { kind, identity } = this.participant;
    switch (message?.topic) {
      case "lk.chat":
        if (!this.#chats.admits(performance.now())) return;
        this.#room.receive({ type: "chat_received", identity, ...message.message });
        break;
      case "lk.transcription":
        if (kind !== "agent") return;
        this.#room.receive({ type: "caption_received", caption: message.caption });
        break;
      case "mulisa.reception":
        this.#room.receive({ type: "reception_received", identity, heard: message.heard });
        break;
    }
  }

  #connectionStateChanged(state: RTCPeerConnectionState): void {
    const { identity } = this.participant;
    if (state === "connected") {
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#room.receive({ type: "connection_changed", identity, state: "connected" });
    } else if (state === "disconnected") {
      this.#interrupted(this.#isAgent ? AGENT_REPLACES_MS : HEALS_ALONE_MS);
    } else if (state === "failed") {
      if (this.#isAgent) this.#interrupted(AGENT_REPLACES_MS);
      else this.#interrupted(this.#isPolite ? 0 : IMPOLITE_WAITS_MS);
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

  /** Restart ICE, and if that does not help replace; aiortc only knows replacing. */
  #mend(): void {
    this.#failures += 1;
    const connection = this.connection;
    const agreedOnce = connection !== null && connection.currentRemoteDescription !== null;
    if (!this.#isAgent && agreedOnce && this.#failures <= ICE_RESTARTS) this.#peer?.restartIce();
    else this.#give({ type: "connection_broken" });
    this.#mendAfter(Math.min(NEXT_ATTEMPT_MS * this.#failures, LAST_ATTEMPT_MS));
  }

  get #isAgent(): boolean {
    return this.participant.kind === "agent";
  }

  #isClosed(): boolean {
    return this.#closed;
  }
}
