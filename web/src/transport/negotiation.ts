/**
 * Perfect negotiation with one peer (W3C webrtc-pc, 10.7) as a pure machine, and which connection
 * is the pair's current one.
 *
 * The shell performs the actions of one event to their end, in order, before it gives the next
 * event; what arrives meanwhile waits. A connection has a name that its offerer gave it. An offer with a
 * new name replaces the pair's connection; a message with a name that is no longer current is
 * late and has no effect.
 *
 * `tests/golden/negotiation.json` drives this class and its Python twin,
 * `mulisa/transport/mesh/negotiation.py`; roles between two agents are that one's alone.
 */

import type { Candidate } from "./signaling";

/** Candidates kept while their description is not there yet; a browser gathers about a dozen. */
export const MAX_EARLY_CANDIDATES = 64;
/** Former connections whose late messages are recognised. */
const RETIRED_NAMES = 16;

export type Role = "polite" | "impolite";

export type NegotiationEvent =
  /** We want to (re)negotiate; without a connection this opens the first one. */
  | { readonly type: "negotiation_needed" }
  /** Our side of the connection failed and a new one shall take its place. */
  | { readonly type: "connection_broken" }
  /** A description of this connection could not be applied; the connection is of no use. */
  | { readonly type: "description_refused"; readonly connection: string }
  | {
      readonly type: "offer_received" | "answer_received";
      readonly connection: string;
      readonly sdp: string;
    }
  /** The peer found a candidate, or (null) has no more of them. */
  | {
      readonly type: "candidate_received";
      readonly connection: string;
      readonly candidate: Candidate | null;
    };

export type NegotiationAction =
  /**
   * Another connection takes the place of this one: while it works it may carry what it can until
   * the other one is connected.
   */
  | { readonly type: "supersede_connection"; readonly connection: string }
  | {
      /** Make, or close, an RTCPeerConnection with our track and the data channel. */
      readonly type: "open_connection" | "close_connection";
      readonly connection: string;
    }
  | {
      /** Create the description, set it locally, send it. */
      readonly type: "send_offer" | "send_answer";
      readonly connection: string;
    }
  /** Withdraw our pending offer (RFC 8829, 4.1.10.2). */
  | { readonly type: "roll_back"; readonly connection: string }
  | {
      readonly type: "accept_offer" | "accept_answer";
      readonly connection: string;
      readonly sdp: string;
    }
  /** A candidate that cannot be used does no harm. */
  | {
      readonly type: "add_candidate";
      readonly connection: string;
      readonly candidate: Candidate | null;
    };

export class Negotiation {
  readonly #role: Role;
  readonly #newName: () => string;
  #connection: string | null = null;
  #offerPending = false;
  /** A wish that came while an offer was in flight: one further offer after it. */
  #wantsOffer = false;
  #hasRemoteDescription = false;
  #early: (Candidate | null)[] = [];
  #earlyName: string | null = null;
  #retired: string[] = [];

  constructor(role: Role, newName: () => string = randomConnectionName) {
    this.#role = role;
    this.#newName = newName;
  }

  receive(event: NegotiationEvent): NegotiationAction[] {
    switch (event.type) {
      case "negotiation_needed":
        return this.#negotiate();
      case "connection_broken":
        return this.#replace();
      case "description_refused":
        return event.connection === this.#connection ? this.#retire("close_connection") : [];
      case "offer_received":
        return this.#offerReceived(event.connection, event.sdp);
      case "answer_received":
        return this.#answerReceived(event.connection, event.sdp);
      case "candidate_received":
        return this.#candidateReceived(event.connection, event.candidate);
    }
  }

  #negotiate(): NegotiationAction[] {
    if (this.#connection === null) return this.#replace();
    if (!this.#offerPending) return this.#offer(this.#connection);
    this.#wantsOffer = true;
    return [];
  }

  #replace(): NegotiationAction[] {
    const name = this.#newName();
    return [...this.#supersede(name), ...this.#offer(name)];
  }

  #supersede(name: string): NegotiationAction[] {
    return [...this.#retire("supersede_connection"), ...this.#open(name)];
  }

  #retire(type: "close_connection" | "supersede_connection"): NegotiationAction[] {
    const connection = this.#connection;
    if (connection === null) return [];
    this.#connection = null;
    this.#retired = [...this.#retired, connection].slice(-RETIRED_NAMES);
    this.#offerPending = this.#wantsOffer = this.#hasRemoteDescription = false;
    return [{ type, connection }];
  }

  #open(connection: string): NegotiationAction[] {
    this.#connection = connection;
    this.#expectEarly(connection);
    return [{ type: "open_connection", connection }];
  }

  #offer(connection: string): NegotiationAction[] {
    this.#offerPending = true;
    this.#wantsOffer = false;
    return [{ type: "send_offer", connection }];
  }

  #offerReceived(connection: string, sdp: string): NegotiationAction[] {
    if (this.#retired.includes(connection) || this.#ignoresOffer(connection)) return [];
    const actions: NegotiationAction[] = [];
    if (connection !== this.#connection) {
      actions.push(...this.#supersede(connection));
    } else if (this.#offerPending) {
      actions.push({ type: "roll_back", connection });
      this.#offerPending = false;
      this.#wantsOffer = true;
    }
    actions.push({ type: "accept_offer", connection, sdp }, ...this.#described(connection));
    actions.push({ type: "send_answer", connection });
    return this.#wantsOffer ? [...actions, ...this.#offer(connection)] : actions;
  }

  /**
   * An impolite side keeps to its own offer, except when the peer replaces a connection that we
   * are only renegotiating: the peer has given that one up and will not answer.
   */
  #ignoresOffer(connection: string): boolean {
    if (this.#role !== "impolite" || !this.#offerPending) return false;
    return connection === this.#connection || !this.#hasRemoteDescription;
  }

  #answerReceived(connection: string, sdp: string): NegotiationAction[] {
    if (connection !== this.#connection || !this.#offerPending) return [];
    this.#offerPending = false;
    const accept: NegotiationAction = { type: "accept_answer", connection, sdp };
    const actions = [accept, ...this.#described(connection)];
    return this.#wantsOffer ? [...actions, ...this.#offer(connection)] : actions;
  }

  /** A remote description is there: the candidates that came before it can be used. */
  #described(connection: string): NegotiationAction[] {
    this.#hasRemoteDescription = true;
    const early = this.#early.splice(0);
    return early.map((candidate) => ({ type: "add_candidate", connection, candidate }));
  }

  #candidateReceived(connection: string, candidate: Candidate | null): NegotiationAction[] {
    const isCurrent = connection === this.#connection;
    if (isCurrent && this.#hasRemoteDescription) {
      return [{ type: "add_candidate", connection, candidate }];
    }
    const mayBecomeUseful = isCurrent || this.#connection === null;
    if (mayBecomeUseful && !this.#retired.includes(connection)) {
      this.#expectEarly(connection);
      if (this.#early.length < MAX_EARLY_CANDIDATES) this.#early.push(candidate);
    }
    return [];
  }

  #expectEarly(connection: string): void {
    if (connection === this.#earlyName) return;
    this.#early = [];
    this.#earlyName = connection;
  }
}

interface Side {
  readonly sid: string;
  readonly kind: string;
}

/**
 * Who gives way in glare: a browser always does towards an agent (aiortc cannot roll back), and
 * of two browsers the one with the smaller sid.
 */
export function roleTowards(local: Side, remote: Side): Role {
  return remote.kind === "agent" || local.sid < remote.sid ? "polite" : "impolite";
}

/** A name for a new connection: 24 letters and digits. */
export function randomConnectionName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
