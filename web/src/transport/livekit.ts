/** LiveKit's words in ours: participants, reasons, captions, messages. Pure. */

import {
  ConnectionQuality,
  DisconnectReason,
  type Participant as LiveKitParticipant,
  ParticipantKind,
  Track,
} from "livekit-client";

import { type ChatMessage, MAX_MESSAGE_BYTES, parseCaption, parseChat, parseReception } from "./text";
import type { Caption, ConnectionState, EndReason, LeaveReason, Participant } from "./types";

/** RPC method by which an agent asks whether we have ceased to receive one of its tracks. */
export const ROUTED_METHOD = "mulisa.routed";

const SEGMENT_ID = "lk.segment_id";
const FINAL = "lk.transcription_final";
const IDENTITY = "mulisa.identity";
const INTERRUPTED = "mulisa.interrupted";
const UNSPOKEN = "mulisa.unspoken";
const LISTENER = "mulisa.listener";

type Attributes = Readonly<Record<string, string>>;

export function participantOf(participant: LiveKitParticipant): Participant {
  const { sid, identity, name, attributes } = participant;
  const isAgent = participant.kind === ParticipantKind.AGENT;
  return {
    sid,
    identity,
    name: name === undefined || name === "" ? identity : name,
    kind: isAgent ? "agent" : "standard",
    muted: !isAgent && isMuted(participant),
    attributes: { ...attributes },
  };
}

/** An agent that is silent for long mutes its track to save work, which says nothing to people. */
function isMuted(participant: LiveKitParticipant): boolean {
  return participant.getTrackPublication(Track.Source.Microphone)?.isMuted ?? true;
}

/** Why the stay ended for good, or null if it is worth coming back. */
export function endReason(reason: DisconnectReason | undefined): EndReason | null {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return "left";
    case DisconnectReason.DUPLICATE_IDENTITY:
      return "replaced";
    case DisconnectReason.PARTICIPANT_REMOVED:
      return "removed";
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return "room_closed";
    default:
      return null;
  }
}

/** Why somebody else is gone. */
export function leaveReason(reason: DisconnectReason | undefined): LeaveReason {
  switch (reason) {
    case DisconnectReason.DUPLICATE_IDENTITY:
      return "replaced";
    case DisconnectReason.PARTICIPANT_REMOVED:
      return "removed";
    case undefined:
    case DisconnectReason.UNKNOWN_REASON:
    case DisconnectReason.CLIENT_INITIATED:
      return "left";
    default:
      return "vanished";
  }
}

/** How somebody's media fares at the SFU; null if it does not know. */
export function connectionState(quality: ConnectionQuality): ConnectionState | null {
  if (quality === ConnectionQuality.Unknown) return null;
  return quality === ConnectionQuality.Lost ? "interrupted" : "connected";
}

/** The caption in a text stream of an agent, which speaks for itself unless it says otherwise. */
export function captionOf(agent: string, text: string, attributes: Attributes): Caption | null {
  if (text.length > MAX_MESSAGE_BYTES) return null;
  return parseCaption({
    segment_id: attributes[SEGMENT_ID],
    identity: attributes[IDENTITY] ?? agent,
    text,
    final: attributes[FINAL] === "true",
    interrupted: attributes[INTERRUPTED] === "true",
    unspoken: attributes[UNSPOKEN] ?? "",
    listener: attributes[LISTENER] ?? null,
  });
}

/** To which segment a text stream belongs. */
export function segmentOf(attributes: Attributes): string | null {
  return attributes[SEGMENT_ID] ?? null;
}

/** The typed message in a text stream, whose id is the message's. */
export function chatOf(id: string, text: string, attributes: Attributes): ChatMessage | null {
  return parseChat({ id, text, listener: attributes[LISTENER] ?? null });
}

/** Whom a participant says it hears, or null if that cannot be read. */
export function receptionOf(payload: Uint8Array): readonly string[] | null {
  const fields = parseObject(payload.length > MAX_MESSAGE_BYTES ? "" : decode(payload));
  return fields && parseReception(fields);
}

/** The track that a call of `ROUTED_METHOD` is about, or null if that cannot be read. */
export function routedTrack(payload: string): string | null {
  const track = parseObject(payload)?.track;
  return typeof track === "string" ? track : null;
}

function decode(payload: Uint8Array): string {
  return new TextDecoder().decode(payload);
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
