/**
 * Text between participants (docs/protocol.md): LiveKit's topics and one of ours. As JSON on the
 * data channel `text` between two peers; an SFU carries the same fields in its own packets.
 */

import type { Caption } from "./types";

export const CAPTION_TOPIC = "lk.transcription";
export const CHAT_TOPIC = "lk.chat";
export const RECEPTION_TOPIC = "mulisa.reception";
export const MAX_MESSAGE_BYTES = 16 * 1024;
export const MAX_CHAT_CHARS = 4000;
const CHAT_BURST = 30;
const CHATS_PER_SECOND = 2;
const MAX_HEARD = 500;
const MAX_IDENTITY_CHARS = 256;
const CHAT_ID = /^[A-Za-z0-9_-]{1,64}$/;

export type TextMessage =
  | { readonly topic: typeof CAPTION_TOPIC; readonly caption: Caption }
  | { readonly topic: typeof CHAT_TOPIC; readonly message: ChatMessage }
  | { readonly topic: typeof RECEPTION_TOPIC; readonly heard: readonly string[] };

/** A typed message (`lk.chat`). */
export interface ChatMessage {
  readonly id: string;
  readonly text: string;
  /** Who alone got it; null is everybody. */
  readonly listener: string | null;
}

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
  switch (fields.topic) {
    case CAPTION_TOPIC: {
      const caption = parseCaption(fields);
      return caption && { topic: CAPTION_TOPIC, caption };
    }
    case CHAT_TOPIC: {
      const message = parseChat(fields);
      return message && { topic: CHAT_TOPIC, message };
    }
    case RECEPTION_TOPIC: {
      const heard = parseReception(fields);
      return heard && { topic: RECEPTION_TOPIC, heard };
    }
    default:
      return null;
  }
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
  return JSON.stringify({ topic: CHAT_TOPIC, id, text });
}

export function receptionText(heard: readonly string[]): string {
  return JSON.stringify({ topic: RECEPTION_TOPIC, heard: heard.slice(0, MAX_HEARD) });
}

/** Null if the fields are not those of a caption. */
export function parseCaption(fields: Record<string, unknown>): Caption | null {
  const { segment_id: segmentId, identity, text, final } = fields;
  const { interrupted = false, unspoken = "", listener = null } = fields;
  if (typeof segmentId !== "string" || typeof identity !== "string") return null;
  if (typeof text !== "string" || typeof final !== "boolean") return null;
  if (typeof interrupted !== "boolean" || typeof unspoken !== "string") return null;
  if (!isListener(listener)) return null;
  return { segmentId, identity, text, final, interrupted, unspoken, listener };
}

/** Null if the fields are not those of a typed message. */
export function parseChat(fields: Record<string, unknown>): ChatMessage | null {
  const { id, text, listener = null } = fields;
  if (typeof id !== "string" || typeof text !== "string") return null;
  if (!CHAT_ID.test(id)) return null;
  if (text.length === 0 || text.length > MAX_CHAT_CHARS) return null;
  return isListener(listener) ? { id, text, listener } : null;
}

/** The identities that a participant says it hears; null if it says something else. */
export function parseReception({ heard }: Record<string, unknown>): readonly string[] | null {
  if (!Array.isArray(heard) || heard.length > MAX_HEARD) return null;
  return heard.every(isIdentity) ? heard : null;
}

function isListener(value: unknown): value is string | null {
  return value === null || isIdentity(value);
}

function isIdentity(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= MAX_IDENTITY_CHARS;
}
