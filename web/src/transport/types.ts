/** What the page asks of a topology, and what a topology reports. One interface for all. */

import type { Stats } from "./vitals";

export type Topology = "mesh" | "sfu";
export type AgentState = "initializing" | "listening" | "thinking" | "speaking";

/** Participant attribute that carries an `AgentState` (LiveKit's convention). */
export const AGENT_STATE_ATTRIBUTE = "lk.agent.state";
/** Participant attribute of the agent: whom it hears and speaks to, as JSON; none by default. */
export const ROUTING_ATTRIBUTE = "mulisa.routing";
/** Participant attribute of the agent: which of its engines fails, as JSON; none by default. */
export const TROUBLE_ATTRIBUTE = "mulisa.trouble";

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
  /** To whom alone these words are whispered; null is everybody. */
  readonly listener: string | null;
}

/** What has come of one voice since it was first heard, by getStats; never counts down. */
export interface Received {
  readonly packets: number;
  /** Payload alone, as `bytesReceived` has it. */
  readonly bytes: number;
}

export type LeaveReason = "left" | "vanished" | "replaced" | "removed";

/** Why a stay ended for good. `full` and `refused` come from the token route. */
export type EndReason =
  "left" | "replaced" | "removed" | "room_closed" | "too_fast" | "full" | "refused" | "no_relay";

/**
 * How a participant's media fares. `interrupted` may heal by itself; `unheard`: they say that
 * nothing of ours comes, though we send it.
 */
export type ConnectionState = "connecting" | "connected" | "interrupted" | "unheard";

export type TransportEvent =
  | {
      readonly type: "joined";
      readonly local: Participant;
      readonly participants: readonly Participant[];
    }
  | { readonly type: "participant_joined"; readonly participant: Participant }
  | { readonly type: "participant_updated"; readonly participant: Participant }
  | { readonly type: "participant_left"; readonly identity: string; readonly reason: LeaveReason }
  /** Reported again, with all their tracks, when one comes or goes. */
  | {
      readonly type: "track_subscribed";
      readonly identity: string;
      readonly stream: MediaStream;
      /** Several tracks may come beside one another, as an agent's voice and its whispers do. */
      readonly several: boolean;
    }
  | { readonly type: "track_unsubscribed"; readonly identity: string }
  | { readonly type: "caption_received"; readonly caption: Caption }
  | {
      readonly type: "chat_received";
      readonly identity: string;
      readonly id: string;
      readonly text: string;
      /** Who alone got it; null is everybody. */
      readonly listener: string | null;
    }
  /** Whose packets this participant (we ourselves, too) received in the last second. */
  | {
      readonly type: "reception_received";
      readonly identity: string;
      readonly heard: readonly string[];
    }
  | {
      readonly type: "connection_changed";
      readonly identity: string;
      readonly state: ConnectionState;
    }
  /** A host has muted us; we may unmute ourselves again. */
  | { readonly type: "muted_by_host" }
  /** The way to the server is lost; the transport comes back by itself. */
  | { readonly type: "signaling_lost" }
  /** It is back, and nothing else changed. */
  | { readonly type: "signaling_resumed" }
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
  /** Tell everybody whose packets came to us in the last second. May get lost. */
  sendReception(heard: readonly string[]): void;
  /** Of this participant's voice, on all connections and tracks so far; null if none came yet. */
  received(identity: string): Promise<Received | null>;
  /** The getStats of all that carries this participant's voice now, and of its path. */
  voiceStats(identity: string): Promise<readonly Stats[]>;
  /** Amplitude of a remote voice without decoding it, 0..1 (RFC 6464); null if unknown. */
  audioLevel(identity: string): number | null;
  /**
   * For measurements: in a mesh by identity of who is at the other end; with an SFU `publisher`
   * and `subscriber`, which are the same if one connection does both.
   */
  connections(): ReadonlyMap<string, RTCPeerConnection>;
}
