/** Where the page starts: reads the address, makes the instruments, shows the app. */

import "./tokens.css";
import "./page.css";
import "./anatomy.css";

import { readDevice, readSpeaker, readTheme } from "./memory";
import { Microphone } from "./mic";
import { roomOfPath } from "./names";
import { installProbe } from "./probe";
import { SoundDevices } from "./sound";
import { Speaker } from "./speaker";
import type { Topology } from "./transport/types";
import { App, type Request, showTheme } from "./view/app";

function readRequest(): Request {
  const query = new URLSearchParams(location.search);
  return {
    room: roomOfPath(location.pathname),
    name: query.get("name")?.trim() ?? "",
    join: query.get("join") === "1",
    relayOnly: query.get("relay") === "1",
    topology: topologyOf(query.get("topology")),
  };
}

function topologyOf(text: string | null): Topology | null {
  return text === "mesh" || text === "sfu" ? text : null;
}

function createSpeaker(context: AudioContext, sound: SoundDevices): Speaker {
  const place = document.createElement("div");
  place.hidden = true;
  document.body.append(place);
  const speaker = new Speaker(place, context, { sound, deviceId: readSpeaker() });
  const unblock = () => {
    if (context.state !== "running") void context.resume();
    if (speaker.blocked) void speaker.unblock();
  };
  // Any click or key lifts the browser's ban on sound.
  window.addEventListener("click", unblock, { capture: true });
  window.addEventListener("keydown", unblock, { capture: true });
  return speaker;
}

function start(): void {
  showTheme(readTheme());
  const context = new AudioContext({ latencyHint: "interactive" });
  const app = document.querySelector<App>("mulisa-app");
  if (app === null) throw new Error("the page has no mulisa-app element");
  const sound = new SoundDevices();
  const mic = new Microphone(context, readDevice(), sound);
  app.start(readRequest(), { context, mic, speaker: createSpeaker(context, sound) });
  installProbe(app);
  // Kept by the browser and shown again with its back button: the visit ended when we were left.
  window.addEventListener("pageshow", ({ persisted }) => {
    if (persisted) location.reload();
  });
}

start();
