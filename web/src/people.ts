/** How a person is shown wherever they appear: the same hue and initials everywhere. */

/** Degrees of OKLCH hue that are told apart at a glance; 270 to 330 is Mulisa's alone. */
const HUES = [8, 32, 58, 92, 140, 168, 196, 224, 252, 342] as const;

/** The hue of an identity (FNV-1a), in degrees. */
export function hueOf(identity: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < identity.length; i += 1) {
    hash = Math.imul(hash ^ identity.charCodeAt(i), 0x01000193) >>> 0;
  }
  return HUES[hash % HUES.length] ?? HUES[0];
}

/** One or two letters for a tile: "Ada Lovelace" is AL, "Bob" is B, "Alice 2" is A2. */
export function initialsOf(name: string): string {
  const words = name.split(/\s+/).filter((word) => word !== "");
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  return ends.map((word) => firstOf(word ?? "").toLocaleUpperCase()).join("");
}

/** The first letter or digit, else whatever comes first. */
function firstOf(word: string): string {
  return (/[\p{L}\p{N}]/u.exec(word) ?? /./u.exec(word))?.[0] ?? "";
}

/** "Alice", "Alice and Bob", "Alice, Bob and Mulisa"; `joint` may be another word than "and". */
export function listed(names: readonly string[], joint = "and"): string {
  const last = names.at(-1) ?? "";
  return names.length < 2 ? last : `${names.slice(0, -1).join(", ")} ${joint} ${last}`;
}
