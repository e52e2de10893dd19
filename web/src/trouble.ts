/** Which of the agent's engines fails, as her attribute says it, and the sentences for it. */

import { type Participant, TROUBLE_ATTRIBUTE } from "./transport/types";

const MAX_CHARS = 120;
const CANNOT = {
  stt: "transcribe",
  llm: "answer",
  tts: "speak",
  realtime: "answer",
} as const;

export interface EngineTrouble {
  readonly stage: keyof typeof CANNOT;
  readonly engine: string;
  readonly reason: string;
  /** Who does its work meanwhile; empty if nobody does. */
  readonly successor: string;
}

/** What holds now; null if all is well, or if what she says is not understood. */
export function engineTrouble(agent: Participant | undefined): EngineTrouble | null {
  const text = agent?.attributes[TROUBLE_ATTRIBUTE];
  if (text === undefined || text === "") return null;
  try {
    return parseTrouble(JSON.parse(text));
  } catch {
    return null;
  }
}

/** "OpenAI cannot transcribe: it refuses our key." and what that means for everybody. */
export function troubleWords({ stage, engine, reason, successor }: EngineTrouble, agent: string): [string, string] {
  const what = `${engine} cannot ${CANNOT[stage]}: ${reason}.`;
  if (successor !== "") return [what, `${capitalized(successor)} does it meanwhile.`];
  const meanwhile = {
    stt: `Until it can, ${agent} does not understand what is said; you can write to her.`,
    llm: `Until it can, ${agent} cannot answer.`,
    tts: `Until it can, ${agent} cannot speak.`,
    realtime: `Until it can, ${agent} cannot answer.`,
  }[stage];
  return [what, meanwhile];
}

function parseTrouble(data: unknown): EngineTrouble | null {
  if (typeof data !== "object" || data === null) return null;
  const { stage, engine, reason, successor = "" } = data as Record<string, unknown>;
  if (typeof stage !== "string" || !isStage(stage)) return null;
  if (!isText(engine) || !isText(reason) || !isText(successor)) return null;
  if (engine === "" || reason === "") return null;
  return { stage, engine, reason, successor };
}

function isStage(stage: string): stage is EngineTrouble["stage"] {
  return Object.hasOwn(CANNOT, stage);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= MAX_CHARS;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
