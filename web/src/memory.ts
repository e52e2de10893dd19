/** What the browser remembers: per tab the token of each room, for good the person's choices. */

export type Theme = "light" | "dark";

/** Storage may be forbidden (private windows, blocked cookies): then nothing is remembered. */
function read(storage: () => Storage, key: string): string | null {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

function write(storage: () => Storage, key: string, value: string | null): void {
  try {
    if (value === null) storage().removeItem(key);
    else storage().setItem(key, value);
  } catch {
    // See above.
  }
}

const tab = () => sessionStorage;
const forGood = () => localStorage;

/** With its former token a reload keeps its identity. */
export const readToken = (room: string): string | null => read(tab, `mulisa.token.${room}`);
export const writeToken = (room: string, token: string | null): void =>
  write(tab, `mulisa.token.${room}`, token);

export const readName = (): string => read(forGood, "mulisa.name") ?? "";
export const writeName = (name: string): void => write(forGood, "mulisa.name", name);

export const readDevice = (): string | null => read(forGood, "mulisa.microphone");
export const writeDevice = (id: string | null): void => write(forGood, "mulisa.microphone", id);

export const readSpeaker = (): string | null => read(forGood, "mulisa.speaker");
export const writeSpeaker = (id: string | null): void => write(forGood, "mulisa.speaker", id);

export function readTheme(): Theme | null {
  const theme = read(forGood, "mulisa.theme");
  return theme === "light" || theme === "dark" ? theme : null;
}
export const writeTheme = (theme: Theme | null): void => write(forGood, "mulisa.theme", theme);
