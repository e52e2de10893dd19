/** What the page says: what is wrong and its mend, and small words that several views use. */

import type { MicProblem } from "../mic";
import type { QualityLevel } from "../quality";
import type { Listener, Person } from "../room";
import type { ConnectionState, EndReason } from "../transport/types";

export interface Trouble {
  readonly what: string;
  readonly mend: string;
}

export function micTrouble(problem: MicProblem): Trouble {
  return {
    denied: { what: "This page may not use your microphone.", mend: howToAllow() },
    no_device: {
      what: "No microphone was found.",
      mend: "Plug one in, or switch it on in your system's sound settings, then try again.",
    },
    in_use: {
      what: "Your microphone is busy.",
      mend: "Close the other program that uses it, then try again.",
    },
    insecure: {
      what: "Your browser gives a microphone to https:// addresses only, and this is http://.",
      mend:
        "Ask the host for an https:// link (mulisa serve --tls auto shows one). On the host's own " +
        "machine the room works as http://localhost, too.",
    },
  }[problem];
}

function howToAllow(): string {
  const agent = navigator.userAgent;
  if (/iPhone|iPad/.test(agent)) {
    return "Tap the page menu in the address bar, then Website Settings, Microphone, Allow.";
  }
  if (agent.includes("Firefox/")) {
    return "Click the crossed-out microphone in the address bar and remove the block, then try again.";
  }
  if (agent.includes("Safari/") && !agent.includes("Chrome/")) {
    return "In the menu choose Safari, Settings for This Website, Microphone, Allow.";
  }
  return "Click the symbol left of the address, switch Microphone on, then try again.";
}

/** What a listener's own count says; null if they do not say. */
export function arrivalWords(listener: string, arrives: boolean | null): string {
  if (arrives === null) return `${listener} does not tell what arrives`;
  return arrives ? "arrives now" : "nothing arrives now";
}

/** How the way to somebody is, if there is anything to say about it. */
export function connectionWords(connection: ConnectionState): string | null {
  if (connection === "connected") return null;
  if (connection === "unheard") return "does not hear you";
  return connection === "interrupted" ? "reconnecting" : "connecting";
}

/** The same with the time it takes: "reconnecting, 3 s". */
export function connectionNote({ connection, since }: Person, now: number): string | null {
  const words = connectionWords(connection);
  if (words === null || connection === "unheard") return words;
  return `${words}, ${Math.max(0, Math.floor((now - since) / 1000))} s`;
}

/** How a level of quality is called. */
export function qualityWords(level: QualityLevel): string {
  return { good: "Good signal", weak: "Weak signal", poor: "Poor signal" }[level];
}

/** For whom a whisper is: "to you only"; `you` is one's own identity. */
export function whisperWords({ identity, name }: Listener, you: string | undefined): string {
  return `to ${identity === you ? "you" : name} only`;
}

/** `found` is the server's sentence, which names the limit. */
export function fullTrouble(found: string): Trouble {
  const [limit] = /at most \d+ people/.exec(found) ?? [];
  return {
    what: limit === undefined ? "The room is full." : `The room is full: ${limit}.`,
    mend: "You can come in as soon as somebody leaves; this page keeps looking.",
  };
}

export function endTrouble(reason: EndReason): Trouble {
  return {
    left: { what: "You left the room.", mend: "Your microphone is off." },
    replaced: {
      what: "You joined this room somewhere else.",
      mend: "This page left, so that nobody hears you twice.",
    },
    removed: { what: "You were removed from the room.", mend: "Your microphone is off." },
    room_closed: { what: "The room was closed.", mend: "Your microphone is off." },
    too_fast: {
      what: "The server ended your visit, because this page sent too much at once.",
      mend: "Joining again usually helps.",
    },
    full: fullTrouble(""),
    no_relay: {
      what: "This link asks for relays only, and the server has none.",
      mend:
        "Open it without relay=1, or ask the host to name a TURN server " +
        "(mulisa serve --ice-server turn:...).",
    },
    refused: {
      what: "The server did not let you in.",
      mend: "Check the room's name and your own, then try again.",
    },
  }[reason];
}
