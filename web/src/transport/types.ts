/** What the page asks of a topology, and what a topology reports. One interface for all. */

export type Topology = "mesh" | "sfu";
export type AgentState = "initializing" | "listening" | "thinking" | "speaking";

/** Participant attribute that carries an `AgentState` (LiveKit's convention). */
export const AGENT_STATE_ATTRIBUTE = "lk.agent.state";

/** Anyone in the room, person or agent. */
export interface Participant {
  /** Names one stay; new at every join. */
  readonly sid: string;
  /** Unique in the room, stable over reloads. */
  readonly identity: string;
  readonly name: string;
  readonly kind: "standard" | "agent";
  readonly muted: boolean;
  readonly attributes: Readonly<Record<string, string>>;
}

/** A piece of transcription (`lk.transcription`): all words of the segment so far. */
export interface Caption {
  readonly segmentId: string;
  /** Whose words these are. */
  readonly identity: string;
  readonly text: string;
  readonly final: boolean;
  /** The reply was cut: `text` is what was heard, `unspoken` the rest. */
  readonly interrupted: boolean;
  readonly unspoken: string;
}

export type LeaveReason = "left" | "vanished" | "replaced" | "removed";

/** Why a stay ended for good. `full` and `refused` come from the token route. */
export type EndReason =
  "left" | "replaced" | "removed" | "room_closed" | "too_fast" | "full" | "refused";

/** How a participant's media fares: `interrupted` may heal by itself. */
export type ConnectionState = "connecting" | "connected" | "interrupted";

export type TransportEvent =
  | {
      readonly type: "joined";
      readonly local: Participant;
      readonly participants: readonly Participant[];
    }
  | { readonly type: "participant_joined"; readonly participant: Participant }
  | { readonly type: "participant_updated"; readonly participant: Participant }
  | { readonly type: "participant_left"; readonly identity: string; readonly reason: LeaveReason }
  | { readonly type: "track_subscribed"; readonly identity: string; readonly stream: MediaStream }
  | { readonly type: "track_unsubscribed"; readonly identity: string }
  | { readonly type: "caption_received"; readonly caption: Caption }
  | {
      readonly type: "chat_received";
      readonly identity: string;
      readonly id: string;
      readonly text: string;
    }
  | {
      readonly type: "connection_changed";
      readonly identity: string;
      readonly state: ConnectionState;
    }
  /** The way to the server is lost; the transport comes back by itself. */
  | { readonly type: "signaling_lost" }
  | { readonly type: "ended"; readonly reason: EndReason };

export type Receive = (event: TransportEvent) => void;

/** One visit to one room; it reports through the `Receive` it was made with. */
export interface Transport {
  /** Join and stay, coming back after losses, until `leave` or an `ended` event. */
  join(): void;
  /** Leave for good. No event follows. Idempotent. */
  leave(): void;
  /** What everybody hears of us; null sends nothing. Needs no renegotiation. */
  setTrack(track: MediaStreamTrack | null): void;
  setMuted(muted: boolean): void;
  /** A typed message to everybody in the room. */
  sendChat(id: string, text: string): void;
  /** Loudness of a remote voice by its RTP packets, 0..1; null if unknown. */
  audioLevel(identity: string): number | null;
  /** For measurements: the connections by identity of who is at the other end. */
  connections(): ReadonlyMap<string, RTCPeerConnection>;
}
