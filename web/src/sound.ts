/** The microphones and loudspeakers of this machine, as far as the browser tells. */

export interface Device {
  readonly id: string;
  /** Empty until the person allowed a microphone. */
  readonly label: string;
}

/** What Chromium and others list beside the device itself. */
const ALIASES: readonly string[] = ["default", "communications"];

/** Reports `change` when devices come and go, and when their names become known. */
export class SoundDevices extends EventTarget {
  microphones: readonly Device[] = [];
  speakers: readonly Device[] = [];

  constructor() {
    super();
    mediaDevices()?.addEventListener("devicechange", () => void this.look());
  }

  /** List them anew; never throws. */
  async look(): Promise<void> {
    const found = (await mediaDevices()?.enumerateDevices().catch(() => [])) ?? [];
    this.microphones = devicesOf(found, "audioinput");
    this.speakers = devicesOf(found, "audiooutput");
    this.dispatchEvent(new Event("change"));
  }
}

/** Absent where a page came over plain http from another machine. */
function mediaDevices(): MediaDevices | undefined {
  return navigator.mediaDevices;
}

function devicesOf(found: readonly MediaDeviceInfo[], kind: MediaDeviceKind): Device[] {
  return found
    .filter((device) => device.kind === kind && device.deviceId !== "")
    .map(({ deviceId, label }) => ({ id: deviceId, label }));
}

/** The device that a person chose was there, and is not any more. */
export function isGone(
  id: string | null,
  before: readonly Device[],
  now: readonly Device[],
): id is string {
  if (id === null || ALIASES.includes(id)) return false;
  return before.some((each) => each.id === id) && !now.some((each) => each.id === id);
}

/** As sentences name it: "Headset (Bluetooth)"; without what some browsers put around it. */
export function labelOf(label: string): string {
  return label.replace(/^(Default|Communications) - /, "").replace(/ \([0-9a-f]{4}:[0-9a-f]{4}\)$/, "");
}
