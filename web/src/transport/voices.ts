/** The audio tracks that an SFU sends us: whose they are, how loud, how much of them came. */

import type { RemoteTrack } from "livekit-client";

import type { Tallies } from "./tally";
import type { Receive, Received } from "./types";
import type { Stats } from "./vitals";

export class Voices {
  readonly #tallies: Tallies;
  readonly #receive: Receive;
  /** Tracks by their sid, by identity. */
  readonly #tracks = new Map<string, Map<string, RemoteTrack>>();
  /** Who may have several tracks: they are heard as one from the beginning. */
  readonly #agents = new Set<string>();
  readonly #waiting = new Set<() => void>();

  constructor(tallies: Tallies, receive: Receive) {
    this.#tallies = tallies;
    this.#receive = receive;
  }

  /** An agent is here: it can be listened to before it has a track, and while it has none. */
  expectAgent(identity: string): void {
    if (this.#agents.has(identity)) return;
    this.#agents.add(identity);
    this.#report(identity);
  }

  add(identity: string, track: RemoteTrack, sid: string): void {
    const tracks = this.#tracks.get(identity) ?? new Map<string, RemoteTrack>();
    this.#tracks.set(identity, tracks.set(sid, track));
    this.#report(identity);
  }

  drop(identity: string, sid: string): void {
    if (this.#tracks.get(identity)?.delete(sid) !== true) return;
    this.#report(identity);
    for (const look of [...this.#waiting]) look();
  }

  /** They left. */
  forget(identity: string): void {
    this.#agents.delete(identity);
    this.#tracks.delete(identity);
  }

  close(): void {
    this.#tracks.clear();
    for (const look of [...this.#waiting]) look();
  }

  /** True as soon as we do not receive this track; false if we still do after so long. */
  async without(sid: string, withinMs: number): Promise<boolean> {
    if (!this.#has(sid)) return true;
    return new Promise((resolve) => {
      const end = (isWithout: boolean) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(isWithout);
      };
      const look = () => {
        if (!this.#has(sid)) end(true);
      };
      const timer = setTimeout(() => end(false), withinMs);
      this.#waiting.add(look);
    });
  }

  audioLevel(identity: string): number | null {
    const levels = [...this.#of(identity)].flatMap(({ receiver }) => {
      return receiver?.getSynchronizationSources()[0]?.audioLevel ?? [];
    });
    return levels.length === 0 ? null : Math.max(...levels);
  }

  async received(identity: string): Promise<Received | null> {
    const tally = this.#tallies.of(identity);
    for (const reports of await this.stats(identity)) tally.count(reports);
    return tally.total;
  }

  /** Of each track that comes from this participant. */
  async stats(identity: string): Promise<readonly Stats[]> {
    const receivers = [...this.#of(identity)].flatMap(({ receiver }) => receiver ?? []);
    return Promise.all(receivers.map((receiver) => receiver.getStats()));
  }

  #report(identity: string): void {
    const tracks = [...this.#of(identity)].map(({ mediaStreamTrack }) => mediaStreamTrack);
    const isAgent = this.#agents.has(identity);
    if (tracks.length === 0 && !isAgent) {
      this.#receive({ type: "track_unsubscribed", identity });
      return;
    }
    const several = isAgent || tracks.length > 1;
    this.#receive({ type: "track_subscribed", identity, stream: new MediaStream(tracks), several });
  }

  #of(identity: string): Iterable<RemoteTrack> {
    return this.#tracks.get(identity)?.values() ?? [];
  }

  #has(sid: string): boolean {
    return [...this.#tracks.values()].some((tracks) => tracks.has(sid));
  }
}
