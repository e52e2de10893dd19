// A room: a mediasoup router, and peers who consume what they may of what the others produce.
//
// The dialogue is that of mediasoup's demo application. What goes beyond it is told in the answer
// to `join` (ABILITIES): a producer's owner chooses who hears it, text and attributes are passed
// on, and an owner is told who hears it from when on.

export const CODECS = [
  {
    kind: "audio",
    mimeType: "audio/opus",
    clockRate: 48_000,
    channels: 2,
    parameters: { useinbandfec: 1 },
  },
];
const ABILITIES = ["listeners", "text", "attributes", "ready"];
const CLOSED_BY_ROOM = 4000;
const REBUILT = 4001;
const WITHDRAWAL_TIME = 2_000;
const MAX_TEXT = 64 * 1024;

export class Room {
  static async create(name, worker, listenIp) {
    const router = await worker.createRouter({ mediaCodecs: CODECS });
    const levels = await router.createAudioLevelObserver({
      maxEntries: 10,
      threshold: -70,
      interval: 300,
    });
    const speakers = await router.createActiveSpeakerObserver({ interval: 300 });
    return new Room(name, worker, { router, levels, speakers, listenIp });
  }

  constructor(name, worker, { router, levels, speakers, listenIp }) {
    Object.assign(this, { name, worker, router, levels, speakers, listenIp });
    this.peers = new Map();
    this.closed = false;
    this.dominant = null;
    levels.on("volumes", (volumes) => {
      const peerVolumes = volumes.map(({ producer, volume }) => {
        return { peerId: producer.appData.peerId, volume };
      });
      this.tell("speakingPeers", { peerVolumes });
    });
    levels.on("silence", () => this.tell("speakingPeers", { peerVolumes: [] }));
    speakers.on("dominantspeaker", ({ producer }) => {
      this.dominant = producer.appData.peerId;
      this.tell("dominantSpeaker", { peerId: this.dominant });
    });
  }

  get joined() {
    return [...this.peers.values()].filter((peer) => peer.isJoined);
  }

  tell(method, data, except = null) {
    for (const peer of this.joined) if (peer !== except) peer.protoo.notify(method, data);
  }

  enter(peer) {
    const former = this.peers.get(peer.id);
    if (former !== undefined) {
      this.leave(former);
      former.protoo.close(CLOSED_BY_ROOM);
    }
    this.peers.set(peer.id, peer);
  }

  leave(peer) {
    if (this.peers.get(peer.id) !== peer) return;
    this.peers.delete(peer.id);
    for (const transport of peer.transports.values()) transport.close();
    if (this.dominant === peer.id) this.dominant = null;
    if (peer.isJoined) this.tell("peerClosed", { peerId: peer.id });
  }

  // Its worker is gone and everything in it: who comes back finds a new one.
  rebuild() {
    this.closed = true;
    for (const peer of this.peers.values()) peer.protoo.close(REBUILT);
    this.peers.clear();
  }

  close() {
    this.closed = true;
    this.router.close();
  }

  // Lets one peer consume one producer if its owner allows it. True if it is consumed then.
  async offer(producer, peer) {
    const owner = producer.appData.peerId;
    if (owner === peer.id || !allows(producer, peer) || this.closed) return false;
    const transport = [...peer.transports.values()].find((each) => each.appData.consuming);
    const { rtpCapabilities } = peer;
    const producerId = producer.id;
    if (!transport || !this.router.canConsume({ producerId, rtpCapabilities })) return false;
    const consumer = await transport.consume({ producerId, rtpCapabilities, paused: true });
    const entry = { consumer, producer, isWanted: false };
    peer.consumers.set(consumer.id, entry);
    const forget = () => peer.consumers.delete(consumer.id);
    const { protoo } = peer;
    consumer.on("transportclose", forget);
    consumer.on("producerclose", () => {
      forget();
      protoo.notify("consumerClosed", { consumerId: consumer.id });
    });
    const consumerId = consumer.id;
    consumer.on("producerpause", () => protoo.notify("consumerPaused", { consumerId }));
    consumer.on("producerresume", () => protoo.notify("consumerResumed", { consumerId }));
    try {
      await protoo.request("newConsumer", {
        peerId: owner,
        producerId,
        id: consumer.id,
        kind: consumer.kind,
        rtpParameters: consumer.rtpParameters,
        type: consumer.type,
        appData: producer.appData,
        producerPaused: consumer.producerPaused,
      });
      entry.isWanted = true;
    } catch {
      return false; // it stays there, paused, until `resumeConsumer`
    }
    await this.settle(entry, peer);
    return allows(producer, peer);
  }

  // Makes a consumer run if its owner allows it and its consumer wants it, and not otherwise.
  async settle(entry, peer) {
    const { consumer, producer } = entry;
    if (consumer.closed) return;
    const runs = entry.isWanted && allows(producer, peer);
    if (runs && consumer.paused) await consumer.resume();
    if (!runs && !consumer.paused) await consumer.pause();
    if (runs && producer.appData.isMain) {
      const owner = this.peers.get(producer.appData.peerId);
      owner?.protoo.notify("listenerReady", { peerId: peer.id });
    }
  }

  // From when it returns the worker forwards nothing to anybody else, and who is left out knows.
  async setListeners(producer, listeners) {
    producer.appData.listeners = listeners;
    const id = producer.appData.peerId;
    const others = this.joined.filter((peer) => peer.id !== id);
    await Promise.all(others.map((peer) => this.admit(producer, peer)));
  }

  async admit(producer, peer) {
    const entries = [...peer.consumers.values()];
    const entry = entries.find((each) => each.producer === producer);
    if (entry === undefined) {
      await this.offer(producer, peer).catch(() => false);
      return;
    }
    const ran = !entry.consumer.paused;
    await this.settle(entry, peer);
    if (ran && entry.consumer.paused) {
      const { id } = entry.consumer;
      const told = peer.protoo.request("withdrawn", { consumerId: id }).catch(() => {});
      await Promise.race([told, new Promise((done) => setTimeout(done, WITHDRAWAL_TIME))]);
    }
  }
}

export class Peer {
  constructor(id, room) {
    Object.assign(this, { id, room, isJoined: false, displayName: id, device: {} });
    this.attributes = {};
    this.protoo = null;
    this.transports = new Map();
    this.producers = new Map();
    this.consumers = new Map();
  }

  get shown() {
    const { id, displayName, device, attributes } = this;
    return { id, displayName, device, attributes };
  }

  async answer(method, data) {
    const handler = HANDLERS[method];
    if (handler === undefined) throw new Error(`unknown request.method "${method}"`);
    if (!this.isJoined && !BEFORE_JOINING.has(method)) throw new Error("Peer not yet joined");
    return handler(this, data, this.room);
  }

  hear(method, data) {
    if (method !== "text" || !this.isJoined) return;
    const { text, peerId } = data;
    if (typeof text !== "string" || text.length > MAX_TEXT) return;
    const told = { peerId: this.id, text };
    if (peerId == null) this.room.tell("text", told, this);
    else this.room.peers.get(peerId)?.protoo.notify("text", told);
  }
}

const BEFORE_JOINING = new Set([
  "getRouterRtpCapabilities",
  "createWebRtcTransport",
  "connectWebRtcTransport",
  "join",
]);

const HANDLERS = {
  getRouterRtpCapabilities: (peer, data, room) => room.router.rtpCapabilities,

  createWebRtcTransport: async (peer, { producing, consuming, forceTcp }, room) => {
    const transport = await room.router.createWebRtcTransport({
      listenIps: [room.listenIp],
      enableUdp: !forceTcp,
      enableTcp: true,
      preferUdp: true,
      appData: { producing: Boolean(producing), consuming: Boolean(consuming) },
    });
    peer.transports.set(transport.id, transport);
    const { id, iceParameters, iceCandidates, dtlsParameters } = transport;
    return { id, iceParameters, iceCandidates, dtlsParameters };
  },

  connectWebRtcTransport: async (peer, { transportId, dtlsParameters }) => {
    await found(peer.transports, transportId, "transport").connect({ dtlsParameters });
  },

  join: (peer, { displayName, device, rtpCapabilities }, room) => {
    if (peer.isJoined) throw new Error("Peer already joined");
    Object.assign(peer, { displayName: String(displayName), device, rtpCapabilities });
    peer.isJoined = true;
    const others = room.joined.filter((each) => each !== peer);
    room.tell("newPeer", peer.shown, peer);
    setImmediate(() => {
      // The observer only tells of changes.
      if (room.dominant) peer.protoo.notify("dominantSpeaker", { peerId: room.dominant });
      for (const other of others) {
        for (const producer of other.producers.values()) offerLater(room, producer, peer);
      }
    });
    return { peers: others.map((each) => each.shown), abilities: ABILITIES };
  },

  produce: async (peer, { transportId, kind, rtpParameters, appData }, room) => {
    const transport = found(peer.transports, transportId, "transport");
    const listeners = chosen(appData?.listeners);
    const isMain = ![...peer.producers.values()].some((each) => each.appData.isMain);
    const producer = await transport.produce({
      kind,
      rtpParameters,
      appData: { ...appData, peerId: peer.id, listeners, isMain: isMain && kind === "audio" },
    });
    peer.producers.set(producer.id, producer);
    if (listeners === null && kind === "audio") {
      const { id: producerId } = producer;
      await room.levels.addProducer({ producerId }).catch(() => {});
      await room.speakers.addProducer({ producerId }).catch(() => {});
    }
    const others = room.joined.filter((each) => each !== peer);
    if (listeners === null || producer.appData.isMain) {
      for (const other of others) offerLater(room, producer, other);
      return { id: producer.id };
    }
    const offers = others.map((each) => room.offer(producer, each).catch(() => false));
    if (!(await Promise.all(offers)).some(Boolean)) {
      closeProducer(peer, producer);
      throw new Error("none of its listeners consumes it");
    }
    return { id: producer.id };
  },

  closeProducer: (peer, { producerId }) => {
    closeProducer(peer, found(peer.producers, producerId, "producer"));
  },
  pauseProducer: (peer, { producerId }) => found(peer.producers, producerId, "producer").pause(),
  resumeProducer: (peer, { producerId }) => found(peer.producers, producerId, "producer").resume(),

  pauseConsumer: async (peer, { consumerId }, room) => {
    const entry = found(peer.consumers, consumerId, "consumer");
    entry.isWanted = false;
    await room.settle(entry, peer);
  },
  resumeConsumer: async (peer, { consumerId }, room) => {
    const entry = found(peer.consumers, consumerId, "consumer");
    entry.isWanted = true;
    await room.settle(entry, peer);
  },

  changeDisplayName: (peer, { displayName }, room) => {
    peer.displayName = String(displayName);
    room.tell("peerDisplayNameChanged", { peerId: peer.id, displayName: peer.displayName }, peer);
  },

  setListeners: async (peer, { producerId, listeners }, room) => {
    await room.setListeners(found(peer.producers, producerId, "producer"), chosen(listeners));
  },

  setAttributes: (peer, { attributes }, room) => {
    if (attributes === null || typeof attributes !== "object") throw new Error("no attributes");
    const entries = Object.entries(attributes).map(([key, value]) => [key, String(value)]);
    peer.attributes = Object.fromEntries(entries);
    const { id: peerId } = peer;
    room.tell("peerAttributesChanged", { peerId, attributes: peer.attributes }, peer);
  },
};

function allows(producer, peer) {
  const { listeners } = producer.appData;
  return listeners === null || listeners.has(peer.id);
}

function chosen(listeners) {
  if (listeners == null) return null;
  if (!Array.isArray(listeners)) throw new Error("listeners are a list of peers, or null");
  return new Set(listeners.map(String));
}

function found(map, id, what) {
  const entry = map.get(id);
  if (entry === undefined) throw new Error(`${what} with id "${id}" not found`);
  return entry;
}

function closeProducer(peer, producer) {
  producer.close();
  peer.producers.delete(producer.id);
}

function offerLater(room, producer, peer) {
  room.offer(producer, peer).catch((error) => console.warn(`consuming: ${error.message}`));
}
