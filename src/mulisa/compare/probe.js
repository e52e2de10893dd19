// In every page of a comparison: a microphone that is played into, ears that note when somebody
// was audible, and all connections with their counters. Times are milliseconds of the machine's
// clock, which all its pages and processes share.
(() => {
  const AUDIBLE = 0.018;
  const QUIET_MS = 300;
  const context = new AudioContext({ sampleRate: 48000 });

  // ---- the microphone
  const microphone = context.createMediaStreamDestination();
  const silence = context.createConstantSource();
  silence.offset.value = 0;
  silence.connect(microphone);
  silence.start();
  if (navigator.mediaDevices) {
    navigator.mediaDevices.getUserMedia = async () => {
      await context.resume();
      return new MediaStream(microphone.stream.getAudioTracks().map((track) => track.clone()));
    };
  }
  const spoken = new Map();
  const playing = new Set();
  const pcm = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return Float32Array.from(new Int16Array(bytes.buffer), (v) => v / 32768);
  };

  // ---- late sound: the render thread tells when it stood still
  const LATE_MS = 60;
  const stops = [];
  const clock = `
    registerProcessor("clock", class extends AudioWorkletProcessor {
      process() {
        const now = Date.now();
        const late = now - (this.before ?? now);
        this.before = now;
        if (late > ${LATE_MS}) this.port.postMessage([now, late]);
        return true;
      }
    });`;
  const module = (text) =>
    context.audioWorklet.addModule(
      URL.createObjectURL(new Blob([text], { type: "text/javascript" })),
    );
  if (context.audioWorklet) {
    module(clock).then(() => {
      new AudioWorkletNode(context, "clock").port.onmessage = ({ data }) => stops.push(data);
    });
  }

  // ---- ears: the render thread tells when it came across the first and the last audible sample
  const worklet = `
    registerProcessor("spans", class extends AudioWorkletProcessor {
      constructor() {
        super();
        this.offset = Infinity;
        this.last = 0;
        this.isAudible = false;
      }
      process([[samples]]) {
        // Blocks are rendered in bursts, never too early: the earliest of them tells the time.
        this.offset = Math.min(this.offset + 0.0005, Date.now() - currentTime * 1000);
        const now = currentTime * 1000 + this.offset;
        for (let i = 0; i < (samples?.length ?? 0); i++) {
          if (Math.abs(samples[i]) < ${AUDIBLE}) continue;
          this.last = now + i / 48;
          if (this.isAudible) continue;
          this.isAudible = true;
          this.port.postMessage({ begin: this.last });
        }
        if (this.isAudible && now - this.last > ${QUIET_MS}) {
          this.isAudible = false;
          this.port.postMessage({ end: this.last });
        }
        return true;
      }
    });`;
  let loading;
  const spansOf = async (source) => {
    loading ??= module(worklet);
    await loading;
    await context.resume();
    const node = new AudioWorkletNode(context, "spans");
    const spans = [];
    node.port.onmessage = ({ data: { begin, end } }) => {
      if (begin !== undefined) spans.push([begin, null]);
      else if (spans.length > 0) spans[spans.length - 1][1] = end;
    };
    source.connect(node);
    return spans;
  };
  const ears = new Map();

  // ---- connections
  const connections = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...options) {
      super(...options);
      const entry = { connection: this, negotiations: 0, connected: false, closed: false };
      connections.push(entry);
      let before = "stable";
      this.addEventListener("signalingstatechange", () => {
        if (this.signalingState === "stable" && before !== "stable") entry.negotiations += 1;
        before = this.signalingState;
      });
      this.addEventListener("connectionstatechange", () => {
        if (this.connectionState === "connected") entry.connected = true;
      });
    }
    close() {
      const entry = connections.find(({ connection }) => connection === this);
      if (entry !== undefined) entry.closed = true;
      super.close();
    }
  };
  const nameOf = (connection) => {
    const named = Object.entries(window.mulisa?.connections ?? {});
    return named.find(([, each]) => each === connection)?.[0] ?? "";
  };
  const tracksOf = (audio) => audio.srcObject?.getAudioTracks() ?? [];
  /** Whose voice a received stream is. Who may have several tracks is heard through a mixer. */
  const speakerOf = (name, inbound) => {
    const { voices } = window.mulisa ?? {}; // of a page that mixes all of them
    if (voices !== undefined) return ({ trackIdentifier }) => voices[trackIdentifier] ?? "";
    const heard = [...document.querySelectorAll("audio[data-identity]")];
    if (heard.some(({ dataset }) => dataset.identity === name)) return () => name;
    const carries = (audio, { trackIdentifier }) =>
      tracksOf(audio).some(({ id }) => id === trackIdentifier);
    const mixed = heard.filter((audio) => !inbound.some((stream) => carries(audio, stream)));
    const other = mixed.length === 1 ? mixed[0].dataset.identity : "";
    return (stream) => heard.find((audio) => carries(audio, stream))?.dataset.identity ?? other;
  };
  /** Not what getStats keeps for 50 ms: counted since it was asked for. */
  const fresh = async (connection) => {
    const asked = performance.timeOrigin + performance.now();
    for (;;) {
      const stats = await connection.getStats();
      const counted = [...stats.values()].find(({ type }) => type === "peer-connection");
      if (counted === undefined || counted.timestamp >= asked) return stats;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const readings = async (entry) => {
    const stats = await fresh(entry.connection);
    const reports = [...stats.values()];
    const transport = reports.find(({ type }) => type === "transport") ?? {};
    const pair = stats.get(transport.selectedCandidatePairId) ?? {};
    const local = stats.get(pair.localCandidateId) ?? {};
    const remote = stats.get(pair.remoteCandidateId) ?? {};
    const counted = reports.find(({ type }) => type === "peer-connection");
    const name = nameOf(entry.connection);
    const inbound = reports.filter(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
    const speaker = speakerOf(name, inbound);
    const codecs = reports.filter(({ type }) => type === "codec");
    return {
      at: counted?.timestamp ?? Date.now(),
      number: connections.indexOf(entry),
      name,
      negotiations: entry.negotiations,
      bytes_sent: transport.bytesSent ?? 0,
      bytes_received: transport.bytesReceived ?? 0,
      packets_sent: transport.packetsSent ?? 0,
      packets_received: transport.packetsReceived ?? 0,
      srtp: transport.srtpCipher ?? "",
      codec: codecs.map(({ mimeType, sdpFmtpLine }) => `${mimeType} ${sdpFmtpLine ?? ""}`)[0] ?? "",
      local_port: local.port ?? 0,
      local_type: local.candidateType ?? "",
      remote: `${remote.address ?? remote.ip ?? ""}:${remote.port ?? 0}`,
      outbound: reports
        .filter(({ type, kind }) => type === "outbound-rtp" && kind === "audio")
        .map((r) => [r.ssrc, r.packetsSent, r.bytesSent, r.headerBytesSent]),
      inbound: inbound.map((r) => [
        r.ssrc,
        r.packetsReceived,
        r.bytesReceived,
        r.headerBytesReceived,
        (r.concealedSamples ?? 0) - (r.silentConcealedSamples ?? 0),
        r.totalSamplesReceived ?? 0,
        speaker(r),
      ]),
    };
  };
  const isOpen = ({ connection, closed }) => !closed && connection.connectionState === "connected";

  window.compare = {
    load: (key, base64) => {
      const samples = pcm(base64);
      const buffer = context.createBuffer(1, samples.length, 48000);
      buffer.copyToChannel(samples, 0);
      spoken.set(key, buffer);
    },
    /** Resolves when all has been played, with when it was audible. */
    say: async (key) => {
      const source = context.createBufferSource();
      const spans = await spansOf(source);
      source.buffer = spoken.get(key);
      source.connect(microphone);
      const ended = new Promise((resolve) => (source.onended = resolve));
      source.start();
      playing.add(source);
      await ended;
      playing.delete(source);
      await new Promise((resolve) => setTimeout(resolve, QUIET_MS + 100));
      return spans;
    },
    hush: () => playing.forEach((source) => source.stop()),
    listen: async (identity) => {
      const audio = document.querySelector(`audio[data-identity="${identity}"]`);
      const heard = ears.get(identity);
      if (heard?.stream === audio.srcObject) return;
      const source = context.createMediaStreamSource(audio.srcObject);
      ears.set(identity, { stream: audio.srcObject, source, spans: await spansOf(source) });
    },
    heard: (identity) => ears.get(identity)?.spans ?? [],
    /** When this participant's voice could be heard here, looked at every 5 ms. */
    hears: async (identity) => {
      for (;;) {
        const audio = document.querySelector(`audio[data-identity="${identity}"]`);
        const { connections: named } = window.mulisa;
        const connection = named[identity] ?? named.subscriber ?? named.publisher;
        const tracks = audio?.srcObject?.getAudioTracks() ?? [];
        if (tracks.length > 0 && connection?.connectionState === "connected") return Date.now();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    packets: async (identity) => {
      const { connections: named } = window.mulisa;
      const connection = named[identity] ?? named.subscriber;
      if (connection !== undefined) await fresh(connection);
      return (await window.mulisa.received(identity))?.packets ?? 0;
    },
    stops: () => stops,
    readings: () => Promise.all(connections.filter(isOpen).map(readings)),
    counts: () => ({
      made: connections.filter(({ connected }) => connected).length,
      closed: connections.filter(({ connected, closed }) => connected && closed).length,
      negotiations: connections.reduce((sum, { negotiations }) => sum + negotiations, 0),
    }),
  };
})();
