/** What participants write to us through an SFU: captions of agents, and typed messages. */

import type { TextStreamReader } from "livekit-client";

import { captionOf, chatOf, segmentOf } from "./livekit";
import { ChatAllowance } from "./text";
import type { Receive } from "./types";

export class Inbox {
  readonly #isAgent: (identity: string) => boolean;
  readonly #receive: Receive;
  readonly #chats = new Map<string, ChatAllowance>();
  /** The last text of each segment that is still being read. */
  readonly #reading = new Map<string, Promise<void>>();

  constructor(isAgent: (identity: string) => boolean, receive: Receive) {
    this.#isAgent = isAgent;
    this.#receive = receive;
  }

  /** A caption comes; those of one segment are reported in the order in which they were sent. */
  caption(reader: TextStreamReader, sender: string): void {
    const { id, attributes = {} } = reader.info;
    // By sender: nobody else's text, which may never end, holds an agent's up.
    const segment = `${sender} ${segmentOf(attributes) ?? id}`;
    const former = this.#reading.get(segment) ?? Promise.resolve();
    const reading = Promise.all([readAll(reader), former]).then(([text]) => {
      if (this.#reading.get(segment) === reading) this.#reading.delete(segment);
      if (text !== null) this.#captioned(sender, text, attributes);
    });
    this.#reading.set(segment, reading);
  }

  /** A typed message comes. */
  async chat(reader: TextStreamReader, identity: string): Promise<void> {
    const { id, attributes = {} } = reader.info;
    const text = await readAll(reader);
    const message = text === null ? null : chatOf(id, text, attributes);
    if (message === null || !this.#allowance(identity).admits(performance.now())) return;
    this.#receive({ type: "chat_received", identity, ...message });
  }

  #captioned(sender: string, text: string, attributes: Record<string, string>): void {
    const caption = captionOf(sender, text, attributes);
    if (caption === null) return;
    // An agent may write in the name of the person whose words these are, and the SFU sees to it
    // that nobody else does.
    if (!this.#isAgent(sender) && caption.identity !== sender) return;
    this.#receive({ type: "caption_received", caption });
  }

  #allowance(identity: string): ChatAllowance {
    const allowance = this.#chats.get(identity) ?? new ChatAllowance();
    this.#chats.set(identity, allowance);
    return allowance;
  }
}

/** Null if the sender left in the middle of it. */
async function readAll(reader: TextStreamReader): Promise<string | null> {
  try {
    return await reader.readAll();
  } catch (error) {
    console.debug("a text ended in the middle", error);
    return null;
  }
}
