/** One RTCPeerConnection with its audio m-line and the data channel `text`. Decides nothing. */

import type { Candidate } from "./signaling";

/** What a `Peer` tells its owner; nothing comes after `close`. */
export interface PeerListener {
  candidateFound(candidate: Candidate | null): void;
  trackReceived(track: MediaStreamTrack): void;
  textReceived(data: unknown): void;
  textOpened(): void;
  connectionStateChanged(state: RTCPeerConnectionState): void;
  /** The browser wants a further offer, after the first exchange is complete. */
  negotiationNeeded(): void;
}

export class Peer {
  readonly connection: RTCPeerConnection;
  readonly #listener: PeerListener;
  #track: MediaStreamTrack | null;
  #audio: RTCRtpTransceiver | null = null;
  #text: RTCDataChannel | null = null;
  #closed = false;

  constructor(
    configuration: RTCConfiguration,
    track: MediaStreamTrack | null,
    listener: PeerListener,
  ) {
    this.#listener = listener;
    this.#track = track;
    this.connection = new RTCPeerConnection(configuration);
    this.#listen();
  }

  /** The SDP of an offer that is set locally. */
  async offer(): Promise<string> {
    if (this.#audio === null) {
      this.#send(this.connection.addTransceiver("audio", { direction: "sendrecv" }));
    }
    await this.connection.setLocalDescription(await this.connection.createOffer());
    return this.connection.localDescription?.sdp ?? "";
  }

  /** The SDP of an answer that is set locally. */
  async answer(): Promise<string> {
    await this.connection.setLocalDescription(await this.connection.createAnswer());
    return this.connection.localDescription?.sdp ?? "";
  }

  async accept(type: "offer" | "answer", sdp: string): Promise<void> {
    await this.connection.setRemoteDescription({ type, sdp });
    if (this.#audio === null) this.#sendOnOffered();
  }

  async rollBack(): Promise<void> {
    await this.connection.setLocalDescription({ type: "rollback" });
  }

  async addCandidate(candidate: Candidate | null): Promise<void> {
    try {
      await this.connection.addIceCandidate(candidate);
    } catch (error) {
      // One useless candidate (an address family we lack, an old generation) breaks nothing.
      console.debug("candidate refused", error);
    }
  }

  /** The browser then wants an offer. */
  restartIce(): void {
    this.connection.restartIce();
  }

  setTrack(track: MediaStreamTrack | null): void {
    this.#track = track;
    if (this.#audio !== null) void this.#audio.sender.replaceTrack(track);
  }

  get canSendText(): boolean {
    return this.#text?.readyState === "open";
  }

  sendText(data: string): void {
    if (this.#text?.readyState === "open") this.#text.send(data);
  }

  get isConnected(): boolean {
    return this.connection.connectionState === "connected";
  }

  /** It was connected once, and has not failed since. */
  get wasConnected(): boolean {
    return this.isConnected || this.connection.connectionState === "disconnected";
  }

  /** Loudness of the peer's voice, 0..1, as its RTP packets tell; null if they do not. */
  get audioLevel(): number | null {
    return this.#audio?.receiver.getSynchronizationSources()[0]?.audioLevel ?? null;
  }

  close(): void {
    this.#closed = true;
    this.connection.close();
  }

  #listen(): void {
    const { connection } = this;
    const unlessClosed = (tell: () => void) => {
      if (!this.#closed) tell();
    };
    connection.onnegotiationneeded = () => {
      // The first offer is not the browser's to wish for.
      if (connection.currentLocalDescription === null) return;
      unlessClosed(() => this.#listener.negotiationNeeded());
    };
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate === "") return; // the end of one generation; null ends them all
      unlessClosed(() => this.#listener.candidateFound(candidate && toWire(candidate)));
    };
    connection.ontrack = ({ track }) => unlessClosed(() => this.#listener.trackReceived(track));
    connection.onconnectionstatechange = () => {
      unlessClosed(() => this.#listener.connectionStateChanged(connection.connectionState));
    };
  }

  /**
   * As the answerer, send on the m-line that was offered. Only now: a transceiver or a data
   * channel made before the first offer would not be matched to it (RFC 8829, 5.10).
   */
  #sendOnOffered(): void {
    const offered = this.connection.getTransceivers();
    const audio = offered.find(({ receiver }) => receiver.track.kind === "audio");
    if (audio === undefined) throw new Error("the offer has no audio");
    audio.direction = "sendrecv";
    this.#send(audio);
  }

  #send(audio: RTCRtpTransceiver): void {
    this.#audio = audio;
    this.setTrack(this.#track);
    const text = this.connection.createDataChannel("text", { negotiated: true, id: 0 });
    text.onopen = () => this.#listener.textOpened();
    text.onmessage = ({ data }: MessageEvent<unknown>) => this.#listener.textReceived(data);
    this.#text = text;
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
