/** Room names, and the paths of rooms. */

const CALM = [
  "amber", "brisk", "calm", "clear", "cosy", "early", "gentle", "golden",
  "green", "kind", "light", "mellow", "quiet", "silver", "still", "warm",
];
const PLACES = [
  "bay", "brook", "field", "garden", "grove", "harbour", "hill", "island",
  "lake", "meadow", "orchard", "porch", "river", "shore", "terrace", "valley",
];

const ROOM_NAME = /^[\p{L}\p{N}](?:[\p{L}\p{N}_ .-]{0,62}[\p{L}\p{N}_-])?$/u;

/** As the gateway has it: 1 to 64 letters, digits, spaces, `_ . -`. */
export function isRoomName(text: string): boolean {
  return ROOM_NAME.test(text);
}

/** A name that is easy to say aloud, `quiet-river-27`; `random` gives numbers in 0..1. */
export function suggestRoomName(random: () => number): string {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)] ?? "";
  return `${pick(CALM)}-${pick(PLACES)}-${10 + Math.floor(random() * 90)}`;
}

export function roomPath(room: string): string {
  return `/r/${encodeURIComponent(room)}`;
}

/** The room of a path `/r/{room}`, or null if it is not one. */
export function roomOfPath(path: string): string | null {
  const encoded = /^\/r\/([^/]+)\/?$/.exec(path)?.[1];
  if (encoded === undefined) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}
