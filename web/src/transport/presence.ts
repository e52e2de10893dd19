/** Who came, changed and went between two looks at a room. Pure. */

import type { LeaveReason, Participant, TransportEvent } from "./types";

export type People = ReadonlyMap<string, Participant>;

/** What to report when those of `before` have become those of `now`, the leaving first. */
export function presenceEvents(
  before: People,
  now: People,
  reasonOf: (sid: string) => LeaveReason,
): TransportEvent[] {
  const left: TransportEvent[] = [];
  const rest: TransportEvent[] = [];
  for (const [identity, { sid }] of before) {
    if (now.get(identity)?.sid === sid) continue;
    left.push({ type: "participant_left", identity, reason: reasonOf(sid) });
  }
  for (const [identity, participant] of now) {
    const known = before.get(identity);
    if (known?.sid !== participant.sid) rest.push({ type: "participant_joined", participant });
    else if (!isSame(known, participant)) rest.push({ type: "participant_updated", participant });
  }
  return [...left, ...rest];
}

export function isSame(one: Participant, other: Participant): boolean {
  const keys = Object.keys(one.attributes);
  return (
    one.name === other.name &&
    one.muted === other.muted &&
    keys.length === Object.keys(other.attributes).length &&
    keys.every((key) => one.attributes[key] === other.attributes[key])
  );
}
