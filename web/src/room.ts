/**
 * What a person sees of a room, whatever its topology: who is there, who speaks, what was said,
 * and what goes wrong. Pure but for its `change` events; times are milliseconds.
 */

import { CallNames } from "./callnames";
import { routingNews, type Someone } from "./hearing";
import { Voice } from "./level";
import { listed } from "./people";
import type { Quality } from "./quality";
import { EVERYBODY, readRouting, type Routing } from "./routing";
import {
  AGENT_STATE_ATTRIBUTE,
  type AgentState,
  type Caption,
  type ConnectionState,
  type EndReason,
  type Participant,
  ROUTING_ATTRIBUTE,
  type TransportEvent,
} from "./transport/types";

const AGENT_STATES: readonly string[] = ["initializing", "listening", "thinking", "speaking"];
/** Connecting is not trouble unless it takes longer than this. */
const PATIENCE_MS = 4_000;
/** Reports of what arrives come once a second; one of them may get lost. */
const REPORT_HOLDS_MS = 2_500;
const MAX_LINES = 2_000;
/** How the segments of people's typed messages begin (docs/protocol.md). */
const TYPED = "chat:";

export interface Person {
  readonly participant: Participant;
  /** What everybody on this page calls them; nobody else is called so. */
  readonly called: string;
  readonly voice: Voice;
  readonly connection: ConnectionState;
  /** Since when `connection` is what it is. */
  readonly since: number;
}

/** A caption or a typed message, with the name as it was then. */
export interface Line {
  readonly kind: "caption" | "chat";
  /** The segment; a typed message and its caption have the same. */
  readonly id: string;
  readonly identity: string;
  readonly name: string;
  /** The name, told apart from others' of the same. */
  readonly called: string;
  readonly isAgent: boolean;
  readonly at: number;
  readonly text: string;
  readonly final: boolean;
  readonly unspoken: string;
  readonly interrupted: boolean;
  /** For whom alone it is; null is everybody. */
  readonly listener: Listener | null;
}

export interface Listener {
  readonly identity: string;
  readonly name: string;
}

/** Whose words a line is. */
type Speaker = Pick<Line, "name" | "called" | "isAgent">;

/** What somebody says arrived at them in the last second. */
interface Report {
  readonly heard: ReadonlySet<string>;
  readonly at: number;
}

interface Signaling { readonly state: "joining" | "unreachable" | "joined" | "lost"; readonly since: number }

export class Room extends EventTarget {
  readonly name: string;
  local: Person | null = null;
  readonly others = new Map<string, Person>();
  lines: readonly Line[] = [];
  signaling: Signaling;
  ended: EndReason | null = null;
  /** The name of the agent that comes when somebody is here. */
  expected: string | null = null;
  /** The last thing a screen reader should say. */
  announcement = "";
  /** Whom the agent hears and speaks to. */
  routing: Routing = EVERYBODY;
  /** The attribute that `routing` was last read from. */
  #routingText: string | undefined;
  readonly #reports = new Map<string, Report>();
  #qualities: ReadonlyMap<string, Quality> = new Map();
  readonly #callNames = new CallNames();
  readonly #names = new Map<string, Speaker>();

  constructor(name: string, now: number) {
    super();
    this.name = name;
    this.signaling = { state: "joining", since: now };
  }

  get agent(): Person | null {
    for (const person of this.others.values()) {
      if (person.participant.kind === "agent") return person;
    }
    return null;
  }

  /** Who will come as an AI, as the token's answer says. */
  expect(agent: string | null): void {
    this.expected = agent;
    if (agent !== null) this.#callNames.reserve(agent);
    this.#changed();
  }

  /** All people, oneself first, as sentences name them. */
  get everybody(): Someone[] {
    return [...(this.local === null ? [] : [this.local]), ...this.people].map((person) => {
      const { identity } = person.participant;
      return { identity, called: person === this.local ? "you" : person.called };
    });
  }

  get people(): Person[] {
    return [...this.others.values()].filter(({ participant }) => participant.kind !== "agent");
  }

  /** Her last words, while they are still news. */
  agentLine(now: number, newsMs = 12_000): Line | null {
    const identity = this.agent?.participant.identity;
    const line = this.lines.findLast((l) => l.kind === "caption" && l.identity === identity);
    const isNews = line !== undefined && (!line.final || now - line.at < newsMs);
    return isNews ? line : null;
  }

  /** Whether `from`'s voice arrived at `to` in the last second; null while `to` does not say. */
  arrives(from: string, to: string, now: number): boolean | null {
    const report = this.#reports.get(to);
    if (report === undefined || now - report.at > REPORT_HOLDS_MS) return null;
    return report.heard.has(from);
  }

  receive(event: TransportEvent, now: number): void {
    switch (event.type) {
      case "joined":
        this.#joined(event.local, event.participants, now);
        break;
      case "participant_joined":
        this.#add(event.participant, now);
        this.announcement = `${this.#speaker(event.participant.identity).called} joined.`;
        break;
      case "participant_updated":
        this.#update(event.participant);
        break;
      case "participant_left":
        this.#left(event.identity);
        break;
      case "connection_changed":
        this.#connectionChanged(event.identity, event.state, now);
        break;
      case "caption_received":
        this.#caption(event.caption, now);
        break;
      case "chat_received":
        this.#chat(event.identity, event.id, event.text, event.listener, now);
        this.announcement = `${this.#speaker(event.identity).called} writes: ${event.text}`;
        break;
      case "reception_received":
        this.#reports.set(event.identity, { heard: new Set(event.heard), at: now });
        this.dispatchEvent(new Event("reports"));
        return;
      case "signaling_lost":
        this.#signalingLost(now);
        break;
      case "signaling_resumed":
        this.signaling = { state: "joined", since: now };
        this.announcement = "You are back in the room.";
        break;
      case "ended":
        this.ended = event.reason;
        break;
      case "track_subscribed":
      case "track_unsubscribed":
        return; // sound is the speaker's business
    }
    this.#changed();
  }

  /** A typed message of our own. */
  sentChat(id: string, text: string, now: number): void {
    const identity = this.local?.participant.identity;
    if (identity === undefined) return;
    this.#chat(identity, id, text, null, now);
    this.#changed();
  }

  /** The server answered that this holds; the agent shows it a moment sooner or later. */
  routed(routing: Routing): void {
    this.#setRouting(routing);
    this.#changed();
  }

  /** How loud each voice is now, 0..1, by identity. Tells `levels`, and `change` if needed. */
  receiveLevels(levels: ReadonlyMap<string, number>, now: number): void {
    let speakersChanged = false;
    for (const person of [this.local, ...this.others.values()]) {
      if (person === null) continue;
      const before = person.voice.speaking;
      person.voice.receive(levels.get(person.participant.identity) ?? 0, now);
      speakersChanged ||= before !== person.voice.speaking;
    }
    this.dispatchEvent(new Event("levels"));
    if (speakersChanged) this.#changed();
  }

  /** How good the ways to others are now, by identity. Tells `qualities`. */
  receiveQualities(qualities: ReadonlyMap<string, Quality>): void {
    this.#qualities = qualities;
    this.dispatchEvent(new Event("qualities"));
  }

  /** Of the way to this participant; null while it is not known, or broken. */
  quality(identity: string): Quality | null {
    const isThere = this.others.get(identity)?.connection === "connected";
    return isThere ? (this.#qualities.get(identity) ?? null) : null;
  }

  /** What is wrong with the connections, as a sentence with a time; null if all is well. */
  trouble(now: number): string | null {
    const { state, since } = this.signaling;
    const waited = now - since;
    if (state === "joining") return waited < PATIENCE_MS ? null : `Joining, ${seconds(waited)}.`;
    if (state === "unreachable") {
      return `The server does not answer. Still trying, ${seconds(waited)}.`;
    }
    const heard = this.#reach((person) => isReached(person));
    const still = heard.length > 0 ? ` You still hear ${listed(heard)}.` : "";
    if (state === "lost") return `Reconnecting to the room, ${seconds(waited)}.${still}`;
    const interrupted = this.#waitingFor("interrupted", "Reconnecting", now);
    const slow = this.#waitingFor("connecting", "Connecting", now - PATIENCE_MS, PATIENCE_MS);
    const trouble = [interrupted, slow].filter((sentence) => sentence !== null).join(" ");
    const deaf = this.#deaf();
    if (trouble === "") return deaf;
    return `${trouble}${still}${deaf === null ? "" : ` ${deaf}`}`;
  }

  /** "Bob does not hear you. Mending the connection.": who says that nothing of ours comes. */
  #deaf(): string | null {
    const names = this.#reach(({ connection }) => connection === "unheard");
    if (names.length === 0) return null;
    const [verb, what] = names.length === 1 ? ["does", "connection"] : ["do", "connections"];
    return `${listed(names)} ${verb} not hear you. Mending the ${what}.`;
  }

  /** "Reconnecting to Bob, 3 s.": whose connection has been in this state since before `by`. */
  #waitingFor(state: ConnectionState, doing: string, by: number, patience = 0): string | null {
    const since = [...this.others.values()]
      .filter((person) => person.connection === state && person.since <= by)
      .map((person) => person.since);
    if (since.length === 0) return null;
    const names = this.#reach((person) => person.connection === state && person.since <= by);
    return `${doing} to ${listed(names)}, ${seconds(by + patience - Math.min(...since))}.`;
  }

  #reach(is: (person: Person) => boolean): string[] {
    return [...this.others.values()].filter(is).map(({ called }) => called);
  }

  #joined(local: Participant, participants: readonly Participant[], now: number): void {
    const former = new Set(this.others.keys());
    const again = this.local !== null;
    this.signaling = { state: "joined", since: now };
    this.others.clear();
    this.#reports.clear();
    for (const participant of participants) this.#add(participant, now);
    const called = this.#remember(local); // after those who were here before us
    this.local = { ...newPerson(local, called, "connected", now), voice: this.local?.voice ?? new Voice() };
    const names = [...this.others.values()].map((each) => each.called);
    this.announcement = again ? "You are back in the room." : greeting(names);
    for (const [identity, { called }] of this.others) {
      if (again && !former.has(identity)) this.announcement += ` ${called} joined.`;
    }
  }

  #add(participant: Participant, now: number): void {
    const called = this.#remember(participant);
    this.others.set(participant.identity, newPerson(participant, called, "connecting", now));
    if (participant.kind === "agent") this.#readRouting(participant);
  }

  #update(participant: Participant): void {
    const called = this.#remember(participant);
    if (participant.sid === this.local?.participant.sid) {
      this.local = { ...this.local, participant, called };
      return;
    }
    const known = this.others.get(participant.identity);
    if (known === undefined) return;
    this.others.set(participant.identity, { ...known, participant, called });
    if (participant.kind !== "agent") return;
    this.#readRouting(participant);
    const state = agentState(participant);
    if (state === agentState(known.participant)) return;
    this.announcement = `${participant.name} is ${state === "initializing" ? "getting ready" : state}.`;
  }

  #left(identity: string): void {
    const gone = this.others.get(identity);
    if (gone === undefined) return;
    this.others.delete(identity);
    this.#reports.delete(identity);
    this.announcement = `${gone.called} left.`;
  }

  #connectionChanged(identity: string, connection: ConnectionState, now: number): void {
    const known = this.others.get(identity);
    if (known === undefined || known.connection === connection) return;
    this.others.set(identity, { ...known, connection, since: now });
    if (connection === "interrupted") this.announcement = `Reconnecting to ${known.called}.`;
    const isBack = known.connection === "interrupted" && connection === "connected";
    if (isBack) this.announcement = `${known.called} is connected again.`;
  }

  #caption(caption: Caption, now: number): void {
    const { segmentId: id, identity, text, final, interrupted, unspoken } = caption;
    const speaker = this.#speaker(identity);
    const listener = this.#listener(caption.listener);
    const rest = { identity, ...speaker, text, final, interrupted, unspoken, listener };
    this.#put({ kind: "caption", id, at: now, ...rest });
  }

  #chat(identity: string, id: string, text: string, only: string | null, now: number): void {
    const speaker = this.#speaker(identity);
    const segment = speaker.isAgent ? id : typedSegment(identity, id);
    const rest = { final: true, interrupted: false, unspoken: "", listener: this.#listener(only) };
    this.#put({ kind: "chat", id: segment, identity, ...speaker, at: now, text, ...rest });
  }

  /**
   * A segment stays where its first words came; a final one does not change any more, and one
   * without words takes back what seemed to be said. Nobody changes the segment of somebody else.
   */
  #put(line: Line): void {
    const { kind, id, identity } = line;
    const index = this.lines.findLastIndex((known) => {
      return known.kind === kind && known.id === id && known.identity === identity;
    });
    const known = this.lines[index];
    if (known?.final) return;
    const isWithdrawn = line.final && line.text.trim() === "" && line.unspoken === "";
    if (isWithdrawn) this.lines = this.lines.filter((each) => each !== known);
    else if (known === undefined) this.lines = [...this.lines, line].slice(-MAX_LINES);
    else this.lines = this.lines.with(index, { ...line, at: known.at });
  }

  #signalingLost(now: number): void {
    if (this.signaling.state === "joined") {
      this.signaling = { state: "lost", since: now };
      this.announcement = "The connection to the room is lost. Reconnecting.";
    } else if (this.signaling.state === "joining") {
      this.signaling = { ...this.signaling, state: "unreachable" };
    }
  }

  #speaker(identity: string): Speaker {
    return this.#names.get(identity) ?? { name: identity, called: identity, isAgent: false };
  }

  #listener(identity: string | null): Listener | null {
    return identity === null ? null : { identity, name: this.#speaker(identity).called };
  }

  #readRouting({ attributes }: Participant): void {
    const text = attributes[ROUTING_ATTRIBUTE];
    if (text === this.#routingText) return;
    this.#routingText = text;
    this.#setRouting(readRouting(text));
  }

  #setRouting(routing: Routing): void {
    const before = this.routing;
    this.routing = routing;
    const agent = this.agent?.participant.name;
    if (agent === undefined) return;
    this.announcement = routingNews(agent, before, routing, this.everybody) || this.announcement;
  }

  /** Returns what they are called. */
  #remember({ identity, name, kind }: Participant): string {
    const isAgent = kind === "agent";
    if (isAgent) this.#callNames.reserve(name);
    const called = isAgent ? name : this.#callNames.call(identity, name);
    this.#names.set(identity, { name, called, isAgent });
    return called;
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

/** What this person says can arrive here. */
function isReached({ connection }: Person): boolean {
  return connection === "connected" || connection === "unheard";
}

/** What a person typed, and was not said. */
export function isTyped({ id }: Line): boolean {
  return id.startsWith(TYPED);
}

function typedSegment(identity: string, messageId: string): string {
  return `${TYPED}${identity}:${messageId}`;
}

/** What an agent says it is doing; `initializing` until it says so. */
export function agentState({ attributes }: Participant): AgentState {
  const state = attributes[AGENT_STATE_ATTRIBUTE] ?? "";
  return AGENT_STATES.includes(state) ? (state as AgentState) : "initializing";
}

function newPerson(
  participant: Participant,
  called: string,
  connection: ConnectionState,
  since: number,
): Person {
  return { participant, called, voice: new Voice(), connection, since };
}

function greeting(names: readonly string[]): string {
  return names.length === 0
    ? "You are in the room, alone so far."
    : `You are in the room with ${listed(names)}.`;
}

function seconds(ms: number): string {
  return `${Math.floor(ms / 1000)} s`;
}
