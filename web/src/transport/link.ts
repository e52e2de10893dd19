/**
 * Our way to the gateway of a mesh room, over as many sockets as it takes (docs/protocol.md, "A
 * lost socket"). What is sent meanwhile comes later, once and in order.
 */

import { type Admission, Refusal, type RefusalReason } from "../api";
import { Backlog } from "./backlog";
import { Backoff } from "./backoff";
import { type FromClient, type FromGateway, Signaling } from "./signaling";

const TICK_MS = 1_000;
const PING_INTERVAL_MS = 2_000;
/** Nothing came for so long, pongs included, not even a first message: the socket is given up. */
const SILENCE_MS = 5_000;
/** The same when we have a reason to doubt, such as a network that changed. */
const DOUBT_MS = 1_500;
/** A tick that is later than this found a machine that slept. */
const SLEPT_MS = 3_000;

export interface LinkListener {
  /** All but `pong`, in order. */
  received(message: FromGateway): void;
  /** The socket is gone, or could not be opened; we come back by ourselves. */
  lost(): void;
  /** We are not let in, and would not be later. Nothing follows. */
  refused(reason: Exclude<RefusalReason, "away">): void;
}

export class GatewayLink {
  readonly #admit: () => Promise<Admission>;
  readonly #listener: LinkListener;
  readonly #backoff = new Backoff();
  readonly #ending = new AbortController();
  #signaling: Signaling | null = null;
  /** We were welcomed on it: what we send goes out. */
  #isOpen = false;
  #backlog = new Backlog();
  #sid: string | null = null;
  #received = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #tickedAt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #patience = SILENCE_MS;

  /** `admit` gives a fresh token for the same identity; called before each try, throws Refusal. */
  constructor(admit: () => Promise<Admission>, listener: LinkListener) {
    this.#admit = admit;
    this.#listener = listener;
  }

  /** Begin; from then on until `close` we are in the room or on the way there. */
  open(): void {
    const { signal } = this.#ending;
    this.#tickedAt = performance.now();
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    window.addEventListener("online", () => this.#doubt(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => {
        if (document.visibilityState === "visible") this.#doubt();
      },
      { signal },
    );
    void this.#enter();
  }

  /** Now, or when there is a socket again. */
  send(message: FromClient): void {
    const text = JSON.stringify(message);
    if (isCounted(message)) this.#backlog.add(text);
    if (this.#isOpen) this.#signaling?.send(text);
  }

  /** Idempotent; the listener hears nothing any more. */
  close(): void {
    this.#ending.abort();
    clearInterval(this.#ticking);
    clearTimeout(this.#retry);
    this.#drop();
  }

  async #enter(): Promise<void> {
    try {
      const { url, token } = await this.#admit();
      if (this.#isOver()) return;
      this.#connect(url, token);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#refused(error);
    }
  }

  #connect(url: string, token: string): void {
    const resumption = this.#sid === null ? null : { sid: this.#sid, received: this.#received };
    this.#heardAt = performance.now();
    this.#patience = SILENCE_MS;
    this.#signaling = new Signaling(url, token, resumption, {
      received: (message) => this.#hear(message),
      lost: () => this.#lost(),
    });
  }

  #refused({ reason }: Refusal): void {
    if (this.#isOver()) return;
    // While we come back, our former stay may still hold the place that seems taken.
    if (reason === "away" || (reason === "full" && this.#sid !== null)) this.#lost();
    else this.#listener.refused(reason);
  }

  #hear(message: FromGateway | null): void {
    this.#heardAt = performance.now();
    this.#patience = SILENCE_MS;
    switch (message?.type) {
      case "pong":
        this.#backlog.acknowledge(message.received);
        return;
      case "joined":
        this.#sid = message.participant.sid;
        this.#received = 0;
        this.#backlog = new Backlog();
        this.#welcomed();
        break;
      case "resumed":
        if (!this.#sendMissed(message.received)) return;
        break;
      case "closing":
        break;
      default:
        this.#received += 1;
    }
    if (message !== null) this.#listener.received(message);
  }

  #sendMissed(received: number): boolean {
    const missed = this.#backlog.after(received);
    if (missed === null) {
      this.#sid = null; // join anew
      this.#lost();
      return false;
    }
    this.#backlog.acknowledge(received);
    this.#welcomed();
    for (const text of missed) this.#signaling?.send(text);
    return true;
  }

  #welcomed(): void {
    this.#isOpen = true;
    this.#backoff.reset();
  }

  #lost(): void {
    this.#drop();
    this.#retry = setTimeout(() => this.#tryAgain(), this.#backoff.next());
    this.#listener.lost();
  }

  #tryAgain(): void {
    this.#retry = undefined;
    void this.#enter();
  }

  #drop(): void {
    this.#isOpen = false;
    this.#signaling?.close();
    this.#signaling = null;
  }

  #tick(): void {
    const now = performance.now();
    const slept = now - this.#tickedAt > SLEPT_MS;
    this.#tickedAt = now;
    if (slept) this.#doubt();
    else if (this.#signaling !== null && now - this.#heardAt >= this.#patience) this.#lost();
    else if (this.#isOpen && now - this.#pingedAt >= PING_INTERVAL_MS) this.#ping();
  }

  #ping(): void {
    this.#pingedAt = performance.now();
    this.send({ type: "ping", received: this.#received });
  }

  /** Something happened to our machine or its network: the socket answers at once, or goes. */
  #doubt(): void {
    if (this.#retry !== undefined) {
      clearTimeout(this.#retry);
      this.#backoff.reset();
      this.#tryAgain();
    } else if (this.#isOpen) {
      this.#heardAt = performance.now();
      this.#patience = DOUBT_MS;
      this.#ping();
    }
  }

  #isOver(): boolean {
    return this.#ending.signal.aborted;
  }
}

function isCounted({ type }: FromClient): boolean {
  return type !== "ping" && type !== "witness" && type !== "leave";
}
