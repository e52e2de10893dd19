// A participant in a browser: mediasoup-client, and what is seen and heard of a room.

import { Device, version } from "mediasoup-client";
import { Protoo } from "../protoo.js";
import { Voices } from "./voices.js";

const AGENT_STATE = "lk.agent.state";
const CLOSED_BY_ROOM = 4000;
const RETRY = 500;
const one = (id) => document.querySelector(`[data-testid="${id}"]`);
const roomName = decodeURIComponent(location.pathname.split("/").pop() || "room");
const query = new URLSearchParams(location.search);

class Visit {
  constructor(name) {
    this.name = name;
    this.id = `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}-${Math.random().toString(36).slice(2, 7)}`;
    this.people = new Map();
    this.consumers = new Map();
    this.voices = new Voices(document.getElementById("voices"));
    this.isOver = false;
    this.isInside = false;
  }

  async begin() {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    [this.track] = stream.getAudioTracks();
    await this.connect();
  }

  async connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const where = new URLSearchParams({ roomId: roomName, peerId: this.id });
    const socket = new WebSocket(`${scheme}://${location.host}/?${where}`, "protoo");
    this.protoo = new Protoo(socket, {
      answer: (method, data) => this.answer(method, data),
      hear: (method, data) => NEWS[method]?.(this, data),
      closed: (code) => this.lost(code),
    });
    await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));
    await this.enter();
  }

  async enter() {
    const { protoo } = this;
    const device = new Device();
    const routerRtpCapabilities = await protoo.request("getRouterRtpCapabilities");
    await device.load({ routerRtpCapabilities });
    this.sending = await this.transport(device, "send");
    this.receiving = await this.transport(device, "recv");
    const { rtpCapabilities } = device;
    const { peers } = await protoo.request("join", {
      displayName: this.name,
      device: { flag: "browser", name: "mediasoup-client", version },
      rtpCapabilities,
    });
    for (const peer of peers) this.meet(peer);
    this.producer = await this.sending.produce({
      track: this.track,
      stopTracks: false,
      codecOptions: { opusFec: true, opusDtx: false, opusStereo: false },
    });
    this.isInside = true;
    this.draw();
  }

  async transport(device, direction) {
    const sends = direction === "send";
    const options = await this.protoo.request("createWebRtcTransport", {
      producing: sends,
      consuming: !sends,
    });
    const transport = sends
      ? device.createSendTransport(options)
      : device.createRecvTransport(options);
    transport.on("connect", ({ dtlsParameters }, done, failed) => {
      const { id: transportId } = transport;
      this.protoo
        .request("connectWebRtcTransport", { transportId, dtlsParameters })
        .then(done, failed);
    });
    transport.on("produce", ({ kind, rtpParameters, appData }, done, failed) => {
      const { id: transportId } = transport;
      this.protoo
        .request("produce", { transportId, kind, rtpParameters, appData })
        .then(done, failed);
    });
    return transport;
  }

  async answer(method, data) {
    if (method === "withdrawn") return; // the server has paused it; this says that we know
    if (method !== "newConsumer") throw new Error(`unknown ${method}`);
    const { id, peerId, producerId, kind, rtpParameters } = data;
    const consumer = await this.receiving.consume({ id, producerId, kind, rtpParameters });
    this.consumers.set(id, { consumer, peerId });
    this.voices.add(peerId, id, consumer.track);
  }

  closed({ consumerId }) {
    const entry = this.consumers.get(consumerId);
    if (entry === undefined) return;
    this.consumers.delete(consumerId);
    entry.consumer.close();
    this.voices.remove(entry.peerId, consumerId);
  }

  meet(peer) {
    this.people.set(peer.id, { ...this.people.get(peer.id), ...peer });
    this.draw();
  }

  forget(id) {
    this.people.delete(id);
    for (const [consumerId, { peerId }] of this.consumers) {
      if (peerId === id) this.closed({ consumerId });
    }
    this.voices.stop(id);
    this.draw();
  }

  lost(code) {
    for (const id of [...this.people.keys()]) this.forget(id);
    this.sending?.close();
    this.receiving?.close();
    this.isInside = false;
    this.draw();
    if (!this.isOver && code !== CLOSED_BY_ROOM) setTimeout(() => this.retry(), RETRY);
  }

  retry() {
    if (!this.isOver) this.connect().catch(() => this.protoo.close());
  }

  leave() {
    this.isOver = true;
    this.protoo.close();
    this.track.stop();
  }

  async mute() {
    const { producer } = this;
    if (producer.paused) producer.resume();
    else producer.pause();
    const method = producer.paused ? "pauseProducer" : "resumeProducer";
    await this.protoo.request(method, { producerId: producer.id });
    one("mute").textContent = producer.paused ? "Unmute" : "Mute";
  }

  write(text) {
    const message = { topic: "lk.chat", id: crypto.randomUUID(), text };
    this.protoo.notify("text", { text: JSON.stringify(message) });
    this.caption({ segment_id: message.id, name: this.name, text, final: true });
  }

  read(peerId, text) {
    const message = JSON.parse(text);
    if (message.topic === "lk.transcription") {
      const name = message.identity === this.id ? this.name : this.nameOf(message.identity);
      this.caption({ ...message, name });
    } else if (message.topic === "lk.chat" && !document.getElementById(`caption-${message.id}`)) {
      this.caption({ ...message, segment_id: message.id, name: this.nameOf(peerId), final: true });
    }
  }

  nameOf(id) {
    return this.people.get(id)?.displayName ?? id;
  }

  caption({ segment_id: id, name, text, final, listener }) {
    const place = document.getElementById("captions");
    let row = document.getElementById(`caption-${id}`);
    if (row === null) {
      row = document.createElement("li");
      row.id = `caption-${id}`;
      row.dataset.testid = "caption";
      row.innerHTML = '<span class="who"></span> <span class="words"></span>';
      place.append(row);
    }
    Object.assign(row.dataset, { name, final: String(Boolean(final)), listener: listener ?? "" });
    row.querySelector(".who").textContent = listener ? `${name} (only to you)` : name;
    row.querySelector(".words").textContent = text;
  }

  draw() {
    document.querySelector("main").hidden = !this.isInside;
    document.getElementById("door").hidden = this.isInside;
    const tiles = [{ id: this.id, displayName: this.name }, ...this.people.values()];
    document.getElementById("people").replaceChildren(...tiles.map(tile));
    const agent = [...this.people.values()].find(({ device }) => device?.flag === "agent");
    one("agent-state").textContent = agent?.attributes?.[AGENT_STATE] ?? "away";
  }

  get connections() {
    const of = (transport) => transport?.handler?._pc;
    const found = { publisher: of(this.sending), subscriber: of(this.receiving) };
    return Object.fromEntries(Object.entries(found).filter(([, each]) => each !== undefined));
  }

  get heard() {
    const entries = [...this.consumers.values()];
    return Object.fromEntries(entries.map(({ consumer, peerId }) => [consumer.track.id, peerId]));
  }

  async received(identity) {
    let packets = 0;
    for (const { consumer, peerId } of this.consumers.values()) {
      if (peerId !== identity) continue;
      for (const report of (await consumer.getStats()).values()) {
        if (report.type === "inbound-rtp") packets += report.packetsReceived;
      }
    }
    return { packets };
  }
}

const NEWS = {
  newPeer: (visit, peer) => visit.meet(peer),
  peerClosed: (visit, { peerId }) => visit.forget(peerId),
  peerDisplayNameChanged: (visit, { peerId: id, displayName }) => visit.meet({ id, displayName }),
  peerAttributesChanged: (visit, { peerId: id, attributes }) => visit.meet({ id, attributes }),
  consumerClosed: (visit, data) => visit.closed(data),
  text: (visit, { peerId, text }) => visit.read(peerId, text),
  speakingPeers: (visit, { peerVolumes }) => {
    const speaking = new Set(peerVolumes.map(({ peerId }) => peerId));
    for (const each of document.querySelectorAll('[data-testid="participant"]')) {
      each.dataset.speaking = String(speaking.has(each.dataset.identity));
    }
  },
};

function tile({ id, displayName }) {
  const made = document.createElement("li");
  Object.assign(made.dataset, { testid: "participant", identity: id, name: displayName });
  made.textContent = displayName;
  return made;
}

let visit = null;

function join(name) {
  visit?.leave();
  visit = new Visit(name);
  visit.begin().catch((error) => alert(error.message));
}

document.getElementById("door").addEventListener("submit", (event) => {
  event.preventDefault();
  join(one("name").value.trim());
});
document.getElementById("chat").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = one("chat-input");
  if (field.value.trim()) visit?.write(field.value.trim());
  field.value = "";
});
one("leave").addEventListener("click", () => visit?.leave());
one("mute").addEventListener("click", () => visit?.mute());

// What tests read, by the same names as on Mulisa's own page.
window.mulisa = {
  get identity() {
    return visit?.isInside ? visit.id : null;
  },
  get connections() {
    return visit?.connections ?? {};
  },
  // By the id of a received track, whose voice it carries.
  get voices() {
    return visit?.heard ?? {};
  },
  received: (identity) => visit?.received(identity) ?? { packets: 0 },
};

one("name").value = query.get("name") ?? "";
if (query.get("join") === "1" && query.get("name")) join(query.get("name"));
