/** The data channel `text` between two peers (docs/protocol.md): JSON with LiveKit's topics. */

import type { Caption } from "./types";

export const MAX_MESSAGE_BYTES = 16 * 1024;
export const MAX_CHAT_CHARS = 4000;
const CHAT_BURST = 30;
const CHATS_PER_SECOND = 2;
const CHAT_ID = /^[A-Za-z0-9_-]{1,64}$/;

export type TextMessage =
  | { readonly topic: "lk.transcription"; readonly caption: Caption }
  | { readonly topic: "lk.chat"; readonly id: string; readonly text: string };

/** What a peer sent, or null if it breaks the protocol; then it is dropped. */
export function parseText(data: unknown): TextMessage | null {
  if (typeof data !== "string" || data.length > MAX_MESSAGE_BYTES) return null;
  let message: unknown;
  try {
    message = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof message !== "object" || message === null) return null;
  const fields = message as Record<string, unknown>;
  if (fields.topic === "lk.transcription") return parseCaption(fields);
  if (fields.topic === "lk.chat") return parseChat(fields);
  return null;
}

/** How many typed messages of one peer are taken; more than a person can type are dropped. Pure. */
export class ChatAllowance {
  #left = CHAT_BURST;
  #since = -Infinity;

  /** Count one message; false if it is one too many. `now` is milliseconds. */
  admits(now: number): boolean {
    const earned = ((now - this.#since) / 1000) * CHATS_PER_SECOND;
    this.#left = Math.min(CHAT_BURST, this.#left + earned);
    this.#since = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

export function chatText(id: string, text: string): string {
  return JSON.stringify({ topic: "lk.chat", id, text });
}

function parseCaption(fields: Record<string, unknown>): TextMessage | null {
  const { segment_id: segmentId, identity, text, final } = fields;
  const { interrupted = false, unspoken = "" } = fields;
  if (typeof segmentId !== "string" || typeof identity !== "string") return null;
  if (typeof text !== "string" || typeof final !== "boolean") return null;
  if (typeof interrupted !== "boolean" || typeof unspoken !== "string") return null;
  return {
    topic: "lk.transcription",
    caption: { segmentId, identity, text, final, interrupted, unspoken },
  };
}

function parseChat({ id, text }: Record<string, unknown>): TextMessage | null {
  if (typeof id !== "string" || typeof text !== "string") return null;
  if (!CHAT_ID.test(id)) return null;
  if (text.length === 0 || text.length > MAX_CHAT_CHARS) return null;
  return { topic: "lk.chat", id, text };
}
