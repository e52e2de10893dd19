/** Mesh signalling over one WebSocket (docs/protocol.md): typed messages in and out. */

import type { LeaveReason, Participant } from "./types";

export interface Candidate {
  readonly candidate: string;
  readonly sdpMid: string | null;
  readonly sdpMLineIndex: number | null;
  readonly usernameFragment: string | null;
}

export type FromGateway =
  | {
      readonly type: "joined";
      readonly participant: Participant;
      readonly participants: readonly Participant[];
      readonly ice_servers: RTCIceServer[];
    }
  | {
      readonly type: "resumed";
      readonly received: number;
      readonly ice_servers: RTCIceServer[];
    }
  | { readonly type: "ice_servers"; readonly ice_servers: RTCIceServer[] }
  | { readonly type: "participant_joined"; readonly participant: Participant }
  | { readonly type: "participant_updated"; readonly participant: Participant }
  | {
      readonly type: "participant_left";
      readonly sid: string;
      readonly identity: string;
      readonly reason: LeaveReason;
    }
  | { readonly type: "participant_detached" | "participant_attached"; readonly sid: string }
  | {
      readonly type: "offer" | "answer";
      readonly from: string;
      readonly connection: string;
      readonly sdp: string;
    }
  | {
      readonly type: "candidate";
      readonly from: string;
      readonly connection: string;
      readonly candidate: Candidate | null;
    }
  | { readonly type: "error"; readonly code: string; readonly message: string }
  | { readonly type: "pong"; readonly received: number }
  | {
      readonly type: "closing";
      readonly reason: "replaced" | "removed" | "room_closed" | "too_fast" | "shutdown";
    };

export type FromClient =
  | {
      readonly type: "offer" | "answer";
      readonly to: string;
      readonly connection: string;
      readonly sdp: string;
    }
  | {
      readonly type: "candidate";
      readonly to: string;
      readonly connection: string;
      readonly candidate: Candidate | null;
    }
  | { readonly type: "update"; readonly muted: boolean }
  | { readonly type: "ping"; readonly received: number }
  | { readonly type: "witness"; readonly sid: string }
  | { readonly type: "leave" };

const KNOWN: ReadonlySet<string> = new Set([
  "joined",
  "resumed",
  "ice_servers",
  "participant_joined",
  "participant_updated",
  "participant_left",
  "participant_detached",
  "participant_attached",
  "offer",
  "answer",
  "candidate",
  "error",
  "pong",
  "closing",
]);

/** A message of our own gateway, or null if its type is of a later version. Throws if not JSON. */
export function parseFromGateway(data: string): FromGateway | null {
  const message = JSON.parse(data) as { type: string };
  return KNOWN.has(message.type) ? (message as FromGateway) : null;
}

/** What a client says that had a stay before: its name, and how many messages came. */
export interface Resumption {
  readonly sid: string;
  readonly received: number;
}

export interface SignalingListener {
  /** Null for a message of a later version. */
  received(message: FromGateway | null): void;
  /** The socket is gone, or never opened; nothing follows. Not called after `close`. */
  lost(): void;
}

/** One WebSocket's life. Making a new one is the caller's business. */
export class Signaling {
  readonly #socket: WebSocket;
  #listener: SignalingListener | null;

  constructor(
    url: string,
    token: string,
    resumption: Resumption | null,
    listener: SignalingListener,
  ) {
    this.#listener = listener;
    const query = new URLSearchParams({ access_token: token });
    if (resumption !== null) {
      query.set("resume", resumption.sid);
      query.set("received", String(resumption.received));
    }
    this.#socket = new WebSocket(`${url}/mesh?${query.toString()}`);
    this.#socket.onmessage = ({ data }: MessageEvent<string>) => {
      this.#listener?.received(parseFromGateway(data));
    };
    this.#socket.onclose = () => {
      const lost = this.#listener;
      this.#listener = null;
      lost?.lost();
    };
  }

  /** What is sent while the socket is not open is lost with it. */
  send(text: string): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  /** Idempotent; the listener hears nothing any more. Ends the socket, and not the stay. */
  close(): void {
    this.#listener = null;
    this.#socket.close();
  }
}
