/** `window.mulisa`: what tests and measurements read. Nothing in it changes the visit. */

import type { Received, Topology } from "./transport/types";
import type { App } from "./view/app";

export interface Probe {
  readonly room: string | null;
  readonly identity: string | null;
  readonly sid: string | null;
  readonly topology: Topology | null;
  /** RTCPeerConnections for `getStats`, named as `Transport.connections` does. */
  readonly connections: Readonly<Record<string, RTCPeerConnection>>;
  /** What has come of a participant's voice; null if nothing yet. */
  received(identity: string): Promise<Received | null>;
}

declare global {
  interface Window {
    mulisa: Probe;
  }
}

export function installProbe(app: App): void {
  const local = () => app.visit?.room.local?.participant;
  const probe: Probe = {
    get room() {
      return app.visit?.room.name ?? null;
    },
    get identity() {
      return local()?.identity ?? null;
    },
    get sid() {
      return local()?.sid ?? null;
    },
    get topology() {
      return app.visit?.topology ?? null;
    },
    get connections() {
      return Object.fromEntries(app.visit?.transport.connections() ?? []);
    },
    async received(identity) {
      return (await app.visit?.transport.received(identity)) ?? null;
    },
  };
  window.mulisa = Object.freeze(probe);
}
