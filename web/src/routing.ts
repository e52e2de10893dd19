/** Whom the agent hears and whom she speaks to: read from her, and changed for everybody. */

import { call, Refusal } from "./api";

/** Longer than any change takes that still succeeds. */
const PATIENCE_MS = 20_000;

/** Identities stay in it when people leave, so that a reload undoes nothing. */
export interface Routing {
  /** Whose packets do not come to her. */
  readonly unheard: ReadonlySet<string>;
  /** To whom she speaks; null is everybody, whoever comes later included. */
  readonly listeners: ReadonlySet<string> | null;
}

/** What holds unless she says otherwise. */
export const EVERYBODY: Routing = { unheard: new Set(), listeners: null };

/** One switch: whether she hears somebody, or speaks to somebody or to everybody (null). */
export type Wish =
  | { readonly type: "hear"; readonly identity: string; readonly on: boolean }
  | { readonly type: "speak"; readonly identity: string | null; readonly on: boolean };

/** As `PUT /api/rooms/{room}/routing` takes it (docs/protocol.md). */
export interface RoutingChange {
  readonly hear?: Readonly<Record<string, boolean>>;
  readonly speak_to?: readonly string[] | null;
}

export function hears({ unheard }: Routing, identity: string): boolean {
  return !unheard.has(identity);
}

export function speaksTo({ listeners }: Routing, identity: string): boolean {
  return listeners === null || listeners.has(identity);
}

/** What to ask for so that the wish comes true; `present` are the people in the room. */
export function changeFor(wish: Wish, routing: Routing, present: readonly string[]): RoutingChange {
  const { identity, on } = wish;
  if (wish.type === "hear") return { hear: { [wish.identity]: on } };
  if (identity === null) return { speak_to: on ? null : present };
  const listeners = new Set(routing.listeners ?? present);
  if (on) listeners.add(identity);
  else listeners.delete(identity);
  // Who gives back what was taken away wants what held before: everybody.
  const isEverybody = on && present.every((each) => listeners.has(each));
  return { speak_to: isEverybody ? null : [...listeners] };
}

/** Read `{"hear": {identity: bool}, "speak_to": [identity...] | null}`; null if it is not that. */
export function parseRouting(data: unknown): Routing | null {
  if (!isObject(data)) return null;
  const { hear = {}, speak_to: listeners = null } = data;
  if (!isObject(hear)) return null;
  const ears = Object.entries(hear);
  if (!ears.every(([, on]) => typeof on === "boolean")) return null;
  if (listeners !== null && !isTexts(listeners)) return null;
  return {
    unheard: new Set(ears.filter(([, on]) => on === false).map(([identity]) => identity)),
    listeners: listeners === null ? null : new Set(listeners),
  };
}

/** Read the agent's attribute; what is missing or cannot be read is the default. */
export function readRouting(attribute: string | undefined): Routing {
  try {
    return parseRouting(JSON.parse(attribute ?? "{}")) ?? EVERYBODY;
  } catch {
    return EVERYBODY;
  }
}

/** Ask for a change. Returns what holds, when it holds. Throws Refusal. */
export async function requestRouting(
  room: string,
  token: string | null,
  change: RoutingChange,
): Promise<Routing> {
  const response = await call(`/api/rooms/${encodeURIComponent(room)}/routing`, {
    method: "PUT",
    headers: { authorization: `Bearer ${token ?? ""}`, "content-type": "application/json" },
    body: JSON.stringify(change),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const holds = parseRouting(await response.json().catch(() => null));
  if (holds === null) throw new Refusal("away", "The server's answer could not be read.");
  return holds;
}

function isObject(data: unknown): data is Record<string, unknown> {
  return typeof data === "object" && data !== null && !Array.isArray(data);
}

function isTexts(data: unknown): data is string[] {
  return Array.isArray(data) && data.every((each) => typeof each === "string");
}
