/**
 * Everything between us and one other participant of a mesh room: performs what `Negotiation`
 * says, keeps text until it can be sent, and mends the connection when it breaks.
 *
 * A connection that is replaced carries what it can until the new one is connected: a path that
 * merely returns needs no new connection, and one that works loses nothing.
 */

import { Negotiation, type NegotiationAction, type NegotiationEvent, roleTowards } from "./negotiation";
import { Peer } from "./peer";
import type { Candidate, FromClient } from "./signaling";
import { ChatAllowance, parseText } from "./text";
import type { ConnectionState, Participant, Receive } from "./types";
import { Unheard } from "./unheard";
import { Vitals } from "./vitals";

const FIRST_CONNECTION_MS = 10_000;
/** A connection that seems interrupted often heals alone. */
const HEALS_ALONE_MS = 500;
/** Of two browsers the polite one restarts ICE; the other only if that did not help. */
const IMPOLITE_WAITS_MS = 3_000;
/** An agent replaces what broke by itself, and sooner than we notice. */
const AGENT_REPLACES_MS = 4_000;
const NEXT_ATTEMPT_MS = 5_000;
/** A connection that worked so long was none of a series of failures. */
const STEADY_MS = 10_000;
const LAST_ATTEMPT_MS = 30_000;
const ICE_RESTARTS = 2;
const MAX_WAITING_TEXTS = 100;

/** What a pair needs of the room it is in. */
export interface Surroundings {
  readonly local: Participant;
  readonly configuration: () => RTCConfiguration;
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
  /** What `#peer` is to take the place of: it was connected, and `#peer` is not yet. */
  #former: Peer | null = null;
  /** What `#peer` will be heard by once it is connected. */
  #stream: MediaStream | null = null;
  #isConnected = false;
  #state: ConnectionState = "connecting";
  #since = 0;
  #vitals: Vitals | null = null;
  readonly #unheard = new Unheard();
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

  /** The one that carries our voices now. */
  get connection(): RTCPeerConnection | null {
    return this.#inCharge?.connection ?? null;
  }

  get audioLevel(): number | null {
    return this.#inCharge?.audioLevel ?? null;
  }

  /** When the peer last gave a sign of life on the path, as far as we looked; ms. */
  get heardAt(): number {
    return this.#vitals?.heardAt ?? -Infinity;
  }

  /** As the newcomer: make the pair's connection and offer it. */
  offer(): void {
    this.#give({ type: "negotiation_needed" });
    this.#mendAfter(FIRST_CONNECTION_MS);
  }

  /** The peer sent this through the gateway. */
  receive(event: NegotiationEvent): void {
    const isMending = this.#state === "interrupted" || this.#state === "unheard";
    if (isMending && event.type === "offer_received") this.#mendAfter(NEXT_ATTEMPT_MS);
    this.#give(event);
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#peer?.setTrack(track);
    this.#former?.setTrack(track);
  }

  /** See whether the path still works; to be called once a second. */
  async look(): Promise<void> {
    const peer = this.#inCharge;
    if (this.#vitals === null || peer === null) return;
    const stats = await peer.connection.getStats();
    if (this.#closed || peer !== this.#inCharge) return;
    const now = performance.now();
    this.#vitals.look(stats, now);
    if (this.#vitals.isLost(now)) this.#interrupted();
    else if (this.#state === "interrupted" && peer.isConnected) this.#working();
  }

  /** The network changed, or we slept: what comes from now on tells whether the path works. */
  suspect(): void {
    this.#vitals?.suspect(performance.now());
  }

  /** Text that cannot be sent yet waits for the data channel, the oldest giving way. */
  sendText(data: string): void {
    this.#waiting.push(data);
    if (this.#waiting.length > MAX_WAITING_TEXTS) this.#waiting.shift();
    this.#sendWaiting();
  }

  /** Text that is of no use later: who cannot be reached now misses it. */
  sendTextNow(data: string): void {
    this.#inCharge?.sendText(data);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#closeFormer();
    this.#closePeer();
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
        this.#become("interrupted");
        this.#mendAfter(NEXT_ATTEMPT_MS);
        const { connection } = action;
        await this.#settle({ type: "description_refused", connection });
        return;
      }
    }
  }

  async #perform(action: NegotiationAction): Promise<void> {
    if (action.type === "open_connection") this.#openPeer(action.connection);
    else if (action.type === "close_connection") this.#closePeer();
    else if (action.type === "supersede_connection") this.#supersedePeer();
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
    const { sid: to } = this.participant;
    const { send, configuration, track } = this.#room;
    this.#stream = null;
    this.#isConnected = false;
    const peer = new Peer(configuration(), track(), {
      candidateFound: (candidate: Candidate | null) => {
        send({ type: "candidate", to, connection, candidate });
      },
      trackReceived: (received) => this.#trackReceived(peer, received),
      textReceived: (data) => this.#receiveText(data),
      textOpened: () => this.#sendWaiting(),
      connectionStateChanged: (state) => this.#connectionStateChanged(peer, state),
      negotiationNeeded: () => {
        if (peer === this.#peer) this.#give({ type: "negotiation_needed" });
      },
    });
    this.#peer = peer;
    // Whoever opened it, it has its time; an interruption of the former one is over or being mended.
    if (this.#state !== "connecting") this.#mendAfter(FIRST_CONNECTION_MS);
  }

  #trackReceived(peer: Peer, track: MediaStreamTrack): void {
    if (peer !== this.#peer) return;
    this.#stream ??= new MediaStream();
    this.#stream.addTrack(track);
    if (this.#former === null) this.#play();
  }

  #play(): void {
    if (this.#stream === null) return;
    const { identity } = this.participant;
    this.#room.receive({ type: "track_subscribed", identity, stream: this.#stream, several: false });
  }

  #supersedePeer(): void {
    const peer = this.#peer;
    if (this.#former === null && peer?.wasConnected === true) {
      this.#former = peer;
      this.#peer = null;
    } else this.#closePeer();
  }

  #closePeer(): void {
    this.#peer?.close();
    this.#peer = null;
  }

  #closeFormer(): void {
    this.#former?.close();
    this.#former = null;
  }

  get #inCharge(): Peer | null {
    return this.#former ?? this.#peer;
  }

  #sendWaiting(): void {
    const peer = this.#inCharge;
    while (this.#state !== "interrupted" && peer?.canSendText === true) {
      const data = this.#waiting.shift();
      if (data === undefined) return;
      peer.sendText(data);
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
        this.#reported(message.heard);
        break;
    }
  }

  #connectionStateChanged(peer: Peer, state: RTCPeerConnectionState): void {
    if (peer === this.#peer && state === "connected" && !this.#isConnected) this.#connected();
    else if (peer !== this.#inCharge) return;
    else if (state === "connected") this.#recovered();
    else if (state === "disconnected") this.#interrupted();
    else if (state === "failed") this.#interrupted();
  }

  /** The present connection is there, and alone from now on. */
  #connected(): void {
    this.#isConnected = true;
    if (this.#former !== null) {
      this.#closeFormer();
      this.#play();
    }
    this.#vitals = new Vitals(performance.now());
    this.#unheard.reset();
    this.#working();
  }

  /** The path is back; that we are heard, if we were not, is theirs to say. */
  #recovered(): void {
    if (this.#state !== "unheard") this.#working();
  }

  /** A new connection that is being made may still come, or waits until it is needed again. */
  #working(): void {
    clearTimeout(this.#timer);
    this.#become("connected");
    this.#sendWaiting();
  }

  #interrupted(): void {
    if (this.#state === "interrupted") return;
    this.#become("interrupted");
    this.#mendAfter(Math.max(this.#patience, this.#backoff));
  }

  /** The peer told whose voices came to them: perhaps not ours, though we send it. */
  #reported(heard: readonly string[]): void {
    const unheard = this.#unheard;
    unheard.report(heard.includes(this.#room.local.identity), this.#vitals?.packetsSent ?? 0);
    if (unheard.isUnheard && this.#state === "connected") {
      this.#become("unheard");
      this.#mendAfter(this.#backoff);
    } else if (!unheard.isUnheard && this.#state === "unheard") this.#working();
  }

  #become(state: ConnectionState): void {
    if (state === this.#state) return;
    const now = performance.now();
    if (this.#state === "connected" && now - this.#since >= STEADY_MS) this.#failures = 0;
    this.#state = state;
    this.#since = now;
    this.#room.receive({ type: "connection_changed", identity: this.participant.identity, state });
  }

  /** How long the other side, or the connection itself, has to mend before we do. */
  get #patience(): number {
    if (this.#isAgent) return AGENT_REPLACES_MS;
    return this.#isPolite ? HEALS_ALONE_MS : IMPOLITE_WAITS_MS;
  }

  get #backoff(): number {
    return Math.min(NEXT_ATTEMPT_MS * this.#failures, LAST_ATTEMPT_MS);
  }

  #mendAfter(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#mend(), ms);
  }

  /** Restart ICE, and if that does not help replace; aiortc only knows replacing. */
  #mend(): void {
    this.#failures += 1;
    if (this.#mayRestart) this.#peer?.restartIce();
    else this.#give({ type: "connection_broken" });
    this.#mendAfter(this.#backoff);
  }

  /** Where ICE runs and nothing is heard, a restart is tried once. */
  get #mayRestart(): boolean {
    const wasAgreed = this.#former === null && this.#peer?.connection.currentRemoteDescription != null;
    const restarts = this.#state === "unheard" ? 1 : ICE_RESTARTS;
    return wasAgreed && !this.#isAgent && this.#failures <= restarts;
  }

  get #isAgent(): boolean {
    return this.participant.kind === "agent";
  }

  #isClosed(): boolean {
    return this.#closed;
  }
}
