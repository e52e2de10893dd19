/** The gateway's HTTP routes that the page uses (docs/protocol.md). */

import type { Participant, Topology } from "./transport/types";

export interface Agent {
  readonly identity: string;
  readonly name: string;
}

/** What is needed to enter a room. */
export interface Admission {
  readonly token: string;
  readonly identity: string;
  readonly name: string;
  readonly topology: Topology;
  /** WebSocket base, `ws://HOST:8000`. */
  readonly url: string;
  readonly ice_servers: RTCIceServer[];
  /** Who will be in the room as an AI. */
  readonly agent: Agent | null;
}

export interface RoomState {
  readonly participants: readonly Pick<Participant, "identity" | "name" | "kind">[];
}

/** `away`: no answer, or one that says "later"; trying again can help. */
export type RefusalReason = "away" | "full" | "refused";

export class Refusal extends Error {
  override readonly name = "Refusal";

  constructor(
    readonly reason: RefusalReason,
    message: string,
  ) {
    super(message);
  }
}

/**
 * A token for the room. `token` is one we got before, which keeps the identity; `topology` is that
 * of the room if it is not there yet, null for the gateway's own choice. Throws Refusal.
 */
export async function requestToken(
  room: string,
  name: string,
  token: string | null,
  topology: Topology | null = null,
): Promise<Admission> {
  const wishes = { ...(token !== null && { token }), ...(topology !== null && { topology }) };
  const response = await call(`/api/rooms/${encodeURIComponent(room)}/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, ...wishes }),
  });
  return (await response.json()) as Admission;
}

/** Who is in the room now; null while nobody is. Throws Refusal. */
export async function readRoom(room: string, token: string): Promise<RoomState | null> {
  try {
    const response = await call(`/api/rooms/${encodeURIComponent(room)}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    return (await response.json()) as RoomState;
  } catch (error) {
    if (error instanceof NotFound) return null;
    throw error;
  }
}

class NotFound extends Refusal {}

export async function call(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch {
    throw new Refusal("away", "The server does not answer.");
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response: Response): Promise<Refusal> {
  const message = await explanation(response);
  if (response.status === 404) return new NotFound("refused", message);
  if (response.status === 503) return new Refusal("full", message);
  const later = response.status === 429 || response.status >= 500;
  return new Refusal(later ? "away" : "refused", message);
}

async function explanation(response: Response): Promise<string> {
  try {
    const { error } = (await response.json()) as { error?: unknown };
    if (typeof error === "string") return error;
  } catch {
    // Not our gateway's JSON: a proxy in between.
  }
  return `The server answered ${response.status}.`;
}
