/** One connection to one peer: performs what `Negotiation` decides on an RTCPeerConnection. */

import { Negotiation, type NegotiationAction, type NegotiationEvent, type Role } from "./negotiation";
import type { Candidate } from "./signaling";

/** What a `Peer` tells its owner; nothing comes after `close`. */
export interface PeerListener {
  sendDescription(type: "offer" | "answer", sdp: string): void;
  sendCandidate(candidate: Candidate | null): void;
  trackReceived(track: MediaStreamTrack): void;
  textReceived(data: unknown): void;
  textOpened(): void;
  connectionStateChanged(state: RTCPeerConnectionState): void;
  /** A description was refused: only a new connection can help. */
  broke(error: unknown): void;
}

type Remote =
  | { readonly type: "offer" | "answer"; readonly sdp: string }
  | { readonly type: "candidate"; readonly candidate: Candidate | null };

export class Peer {
  readonly connection: RTCPeerConnection;
  readonly #negotiation: Negotiation;
  readonly #listener: PeerListener;
  readonly #early: (Candidate | null)[] = [];
  #track: MediaStreamTrack | null;
  #transceiver: RTCRtpTransceiver | null = null;
  #text: RTCDataChannel | null = null;
  /** The tail of all operations on the connection, which are performed one after the other. */
  #operations: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(
    role: Role,
    configuration: RTCConfiguration,
    track: MediaStreamTrack | null,
    listener: PeerListener,
  ) {
    this.#negotiation = new Negotiation(role);
    this.#listener = listener;
    this.#track = track;
    this.connection = new RTCPeerConnection(configuration);
    this.#listen();
  }

  /** A first offer of ours is not answered yet, so nothing was ever agreed. */
  get unanswered(): boolean {
    return this.#negotiation.offering && this.connection.currentRemoteDescription === null;
  }

  get textIsOpen(): boolean {
    return this.#text?.readyState === "open";
  }

  /** Begin as the offerer: one audio m-line and the data channel make the browser want an offer. */
  offer(): void {
    this.#transceiver = this.connection.addTransceiver("audio", { direction: "sendrecv" });
    this.#sendTrack();
    this.#openText();
  }

  receive(remote: Remote): void {
    this.#give({ type: remote.type }, remote);
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#track = track;
    this.#sendTrack();
  }

  sendText(data: string): void {
    if (this.#text?.readyState === "open") this.#text.send(data);
  }

  restartIce(): void {
    this.connection.restartIce();
  }

  /** Loudness of the peer's voice, 0..1, as its RTP packets tell; null if they do not. */
  get audioLevel(): number | null {
    return this.#transceiver?.receiver.getSynchronizationSources()[0]?.audioLevel ?? null;
  }

  close(): void {
    this.#closed = true;
    this.#negotiation.receive({ type: "closed" });
    this.connection.close();
  }

  #listen(): void {
    const { connection } = this;
    connection.onnegotiationneeded = () => this.#give({ type: "negotiation_needed" });
    connection.onicecandidate = ({ candidate }) => {
      if (this.#closed || candidate?.candidate === "") return;
      this.#listener.sendCandidate(candidate === null ? null : toWire(candidate));
    };
    connection.ontrack = ({ track }) => this.#listener.trackReceived(track);
    connection.onconnectionstatechange = () => {
      if (!this.#closed) this.#listener.connectionStateChanged(connection.connectionState);
    };
  }

  #give(event: NegotiationEvent, remote?: Remote): void {
    for (const action of this.#negotiation.receive(event)) {
      this.#operations = this.#operations.then(() => this.#perform(action, remote));
    }
  }

  async #perform(action: NegotiationAction, remote: Remote | undefined): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#actions[action](remote);
    } catch (error) {
      if (!this.#isClosed()) this.#listener.broke(error);
    }
  }

  readonly #actions: Record<NegotiationAction, (remote?: Remote) => Promise<void> | undefined> = {
    make_offer: () => this.#describe("offer"),
    make_answer: () => this.#describe("answer"),
    apply_offer: (remote) => this.#apply(remote),
    rollback_and_apply_offer: (remote) => this.#apply(remote), // rolls back implicitly
    apply_answer: (remote) => this.#apply(remote),
    add_candidate: (remote) => this.#add(remote),
    queue_candidate: (remote) => {
      if (remote?.type === "candidate") this.#early.push(remote.candidate);
      return undefined;
    },
    ignore_offer: () => undefined,
    ignore_answer: () => undefined,
    ignore_candidate: () => undefined,
  };

  async #describe(type: "offer" | "answer"): Promise<void> {
    await this.connection.setLocalDescription();
    const local = this.connection.localDescription;
    if (this.#isClosed() || local?.type !== type) return;
    this.#listener.sendDescription(type, local.sdp);
    this.#give({ type: "local_description_set", description: type });
  }

  async #apply(remote: Remote | undefined): Promise<void> {
    if (remote === undefined || remote.type === "candidate") return;
    await this.connection.setRemoteDescription(remote);
    this.#adoptTransceiver();
    for (const candidate of this.#early.splice(0)) await this.connection.addIceCandidate(candidate);
  }

  async #add(remote: Remote | undefined): Promise<void> {
    if (remote?.type !== "candidate") return;
    try {
      await this.connection.addIceCandidate(remote.candidate);
    } catch (error) {
      // One useless candidate (an address family we lack, an old generation) breaks nothing.
      console.debug("candidate refused", error);
    }
  }

  /**
   * As the answerer, send on the m-line that was offered. Only now: a transceiver or a data
   * channel made before the first offer would not be matched to it (RFC 8829, 5.10).
   */
  #adoptTransceiver(): void {
    if (this.#transceiver !== null) return;
    const offered = this.connection.getTransceivers();
    const audio = offered.find(({ receiver }) => receiver.track.kind === "audio");
    if (audio === undefined) return;
    audio.direction = "sendrecv";
    this.#transceiver = audio;
    this.#sendTrack();
    this.#openText();
  }

  #openText(): void {
    const text = this.connection.createDataChannel("text", { negotiated: true, id: 0 });
    text.onopen = () => this.#listener.textOpened();
    text.onmessage = ({ data }: MessageEvent<unknown>) => this.#listener.textReceived(data);
    this.#text = text;
  }

  #sendTrack(): void {
    const sent = this.#transceiver?.sender.replaceTrack(this.#track);
    sent?.catch((error: unknown) => {
      if (!this.#closed) this.#listener.broke(error);
    });
  }

  #isClosed(): boolean {
    return this.#closed;
  }
}

function toWire(candidate: RTCIceCandidate): Candidate {
  return {
    candidate: candidate.candidate,
    sdpMid: candidate.sdpMid,
    sdpMLineIndex: candidate.sdpMLineIndex,
    usernameFragment: candidate.usernameFragment,
  };
}
