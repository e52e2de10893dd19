/** `window.mulisa`: what tests and measurements read. Nothing in it changes the visit. */

import type { App } from "./view/app";

export interface Probe {
  readonly room: string | null;
  readonly identity: string | null;
  readonly sid: string | null;
  /** RTCPeerConnections for `getStats`, by the identity at the other end. */
  readonly connections: Readonly<Record<string, RTCPeerConnection>>;
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
    get connections() {
      return Object.fromEntries(app.visit?.transport.connections() ?? []);
    },
  };
  window.mulisa = Object.freeze(probe);
}
