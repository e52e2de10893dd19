// Clients of livekit-client as it comes, one per identity; `browser_client.py` calls them.
"use strict";

const {Room, RoomEvent, Track, ConnectionState, DisconnectReason, ParticipantKind} = LivekitClient;
const RATE_HZ = 48000;
const AUDIBLE_DB = -60;
const clients = new Map();
const context = new AudioContext({sampleRate: RATE_HZ});

class Client {
  constructor(options) {
    const {e2eeKey, withoutRed, ...rest} = options;
    if (withoutRed) hideRed();
    this.keys = null;
    if (e2eeKey !== undefined) {
      this.keys = new LivekitClient.ExternalE2EEKeyProvider();
      const worker = new Worker("/livekit/livekit-client.e2ee.worker.js");
      rest.encryption = {keyProvider: this.keys, worker};
    }
    this.e2eeKey = e2eeKey;
    this.room = new Room(rest);
    this.voices = new Map();
    this.ears = new Map();
    this.events = [];
    this.data = [];
    this.texts = [];
    this.reason = "";
    this.watch();
  }

  watch() {
    const note = (text) => this.events.push(text);
    this.room
      .on(RoomEvent.SignalReconnecting, () => note("resuming"))
      .on(RoomEvent.Reconnecting, () => note("reconnecting"))
      .on(RoomEvent.Reconnected, () => note("reconnected"))
      .on(RoomEvent.Disconnected, (reason) => {
        this.reason = DisconnectReason[reason] ?? "";
        note("disconnected");
      })
      .on(RoomEvent.ParticipantConnected, ({identity}) => note(`joined ${identity}`))
      .on(RoomEvent.ParticipantDisconnected, ({identity}) => note(`left ${identity}`))
      .on(RoomEvent.TrackSubscribed, (track, publication) => {
        note(`subscribed ${publication.trackName}`);
        this.listen(track, publication);
      })
      .on(RoomEvent.TrackUnsubscribed, (track, publication) => {
        note(`unsubscribed ${publication.trackName}`);
        track.detach().forEach((element) => element.remove());
        this.ears.delete(publication.trackSid);
      })
      .on(RoomEvent.DataReceived, (payload, participant, kind, topic) => {
        this.data.push({
          sender: participant?.identity ?? "",
          topic: topic ?? "",
          text: new TextDecoder().decode(payload),
          is_reliable: kind === 0,
        });
      });
    this.room.registerTextStreamHandler("topic", async (reader, {identity}) => {
      const text = await reader.readAll();
      this.texts.push([identity, reader.info.topic, text]);
    });
  }

  listen(track, publication) {
    const element = track.attach();
    document.body.append(element);
    if (track.kind !== Track.Kind.Audio) return;
    const source = context.createMediaStreamSource(new MediaStream([track.mediaStreamTrack]));
    const analyser = context.createAnalyser();
    analyser.fftSize = 8192;
    analyser.smoothingTimeConstant = 0;
    source.connect(analyser);
    this.ears.set(publication.trackSid, {source, analyser});
  }

  async join(url, token, options) {
    await context.resume();
    if (this.keys) {
      await this.keys.setKey(this.e2eeKey);
      await this.room.setE2EEEnabled(true);
    }
    await this.room.connect(url, token, options);
  }

  async publish(frequency, name, source, options) {
    const output = context.createMediaStreamDestination();
    output.channelCount = 1;
    const gain = context.createGain();
    const oscillator = context.createOscillator();
    oscillator.frequency.value = frequency || 440;
    gain.gain.value = frequency ? 0.25 : 0;
    oscillator.connect(gain).connect(output);
    oscillator.start();
    const [track] = output.stream.getAudioTracks();
    this.voices.set(name, {oscillator, gain, track});
    const sources = {
      microphone: Track.Source.Microphone,
      screen_share_audio: Track.Source.ScreenShareAudio,
      unknown: Track.Source.Unknown,
    };
    const publication = await this.room.localParticipant.publishTrack(
        track, {name, source: sources[source], ...options});
    return publication.trackSid;
  }

  async publishVideo(name, {hue, ...options}) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [640, 360];
    const pen = canvas.getContext("2d");
    let n = 0;
    const paint = () => {
      n += 7;
      pen.fillStyle = `hsl(${hue ?? n % 360} 80% 50%)`;
      pen.fillRect(0, 0, 640, 360);
      pen.fillStyle = "white";
      pen.fillRect((n * 3) % 600, 100, 40, 40);
    };
    paint();
    const timer = setInterval(paint, 66);
    const [track] = canvas.captureStream(15).getVideoTracks();
    this.voices.set(name, {track, timer});
    const publication = await this.room.localParticipant.publishTrack(
        track, {name, source: Track.Source.Camera, ...options});
    return publication.trackSid;
  }

  // The hue of a corner of what is seen, in degrees; null before there is a picture.
  hue(identity, name) {
    const [element] = this.publication(identity, name)?.track?.attachedElements ?? [];
    if (!element?.videoWidth) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [1, 1];
    const pen = canvas.getContext("2d");
    pen.drawImage(element, 8, 8, 16, 16, 0, 0, 1, 1);
    const [r, g, b] = pen.getImageData(0, 0, 1, 1).data;
    const most = Math.max(r, g, b), range = most - Math.min(r, g, b);
    if (!range) return null;
    const sextant = most === r ? (g - b) / range : most === g ? 2 + (b - r) / range : 4 + (r - g) / range;
    return (60 * sextant + 360) % 360;
  }

  async unpublish(name) {
    const {track, timer} = this.voices.get(name);
    clearInterval(timer);
    this.voices.delete(name);
    await this.room.localParticipant.unpublishTrack(track, true);
  }

  async setMuted(name, isMuted) {
    const publication = this.own(name);
    await (isMuted ? publication.mute() : publication.unmute());
  }

  setTone(name, frequency) {
    const {oscillator, gain} = this.voices.get(name);
    gain.gain.value = frequency ? 0.25 : 0;
    if (frequency) oscillator.frequency.value = frequency;
  }

  own(name) {
    return [...this.room.localParticipant.trackPublications.values()]
        .find(({trackName}) => trackName === name);
  }

  publication(identity, name) {
    return [...this.room.remoteParticipants.get(identity)?.trackPublications.values() ?? []]
        .findLast(({trackName}) => trackName === name);
  }

  pitch(identity, name) {
    const ear = this.ears.get(this.publication(identity, name)?.trackSid);
    if (!ear) return 0;
    const bins = new Float32Array(ear.analyser.frequencyBinCount);
    ear.analyser.getFloatFrequencyData(bins);
    const at = bins.indexOf(bins.reduce((a, b) => Math.max(a, b)));
    if (at < 0 || !(bins[at] > AUDIBLE_DB)) return 0;
    const power = (from, to) => bins.slice(Math.max(0, from), to)
        .reduce((sum, db) => sum + 10 ** (db / 10), 0);
    if (power(at - 5, at + 6) < 0.5 * power(0, bins.length)) return 0;
    return at * RATE_HZ / ear.analyser.fftSize;
  }

  connections() {
    const {publisher, subscriber} = this.room.engine.pcManager;
    return [publisher, subscriber].filter(Boolean).map((transport) => transport.pc ?? transport._pc)
        .filter(Boolean);
  }

  async stats() {
    const all = [];
    for (const pc of this.connections()) {
      const asked = performance.timeOrigin + performance.now();
      for (;;) { // Chromium answers from a cache of 50 ms
        const reports = [...(await pc.getStats()).values()];
        const counted = reports.find(({type}) => type === "peer-connection");
        if (!counted || counted.timestamp >= asked) {
          all.push(...reports);
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
    return all;
  }

  async inbound(identity, name) {
    const {receiver} = this.publication(identity, name).track;
    return [...(await receiver.getStats()).values()].find(({type}) => type === "inbound-rtp");
  }

  async packets() {
    return (await this.stats()).filter(({type}) => type === "transport")
        .reduce((sum, {packetsReceived}) => sum + (packetsReceived ?? 0), 0);
  }

  async send(text, to, topic, reliable) {
    const options = {reliable, topic};
    if (to.length) options.destinationIdentities = to;
    await this.room.localParticipant.publishData(new TextEncoder().encode(text), options);
  }

  async sendText(text, to, topic) {
    const options = {topic};
    if (to.length) options.destinationIdentities = to;
    await this.room.localParticipant.sendText(text, options);
  }

  answer(method) {
    const {identity} = this.room.localParticipant;
    this.room.registerRpcMethod(method, async ({payload}) => `${identity}: ${payload}`);
  }

  call(identity, method, payload) {
    const request = {destinationIdentity: identity, method, payload};
    return this.room.localParticipant.performRpc(request);
  }

  async describe({name, metadata, attributes}) {
    const me = this.room.localParticipant;
    if (name !== null) await me.setName(name);
    if (metadata !== null) await me.setMetadata(metadata);
    if (attributes !== null) await me.setAttributes(attributes);
  }

  view() {
    const {room} = this;
    const states = {
      [ConnectionState.Connected]: "connected",
      [ConnectionState.Disconnected]: "disconnected",
    };
    const permissions = room.localParticipant.permissions;
    return {
      connection: states[room.state] ?? "reconnecting",
      reason: this.reason,
      events: this.events,
      room_sid: room.roomInfo?.sid ?? "",
      room_name: room.name ?? "",
      room_metadata: room.metadata ?? "",
      me: seen(room.localParticipant),
      others: Object.fromEntries(
          [...room.remoteParticipants].map(([identity, who]) => [identity, seen(who)])),
      speakers: room.activeSpeakers.map(({identity}) => identity),
      data: this.data,
      texts: this.texts,
      can_publish: permissions?.canPublish ?? true,
      can_subscribe: permissions?.canSubscribe ?? true,
    };
  }

  async leave() {
    for (const {oscillator, timer} of this.voices.values()) {
      oscillator?.stop();
      clearInterval(timer);
    }
    await this.room.disconnect();
  }
}

// From now on no connection of this page can receive redundant audio.
function hideRed() {
  const {addTransceiver} = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.addTransceiver = function(...given) {
    const transceiver = addTransceiver.apply(this, given);
    if (transceiver.receiver.track.kind === "audio") {
      const {codecs} = RTCRtpReceiver.getCapabilities("audio");
      transceiver.setCodecPreferences(codecs.filter(({mimeType}) => mimeType !== "audio/red"));
    }
    return transceiver;
  };
}

function seen(who) {
  return {
    sid: who.sid,
    identity: who.identity,
    name: who.name ?? "",
    metadata: who.metadata ?? "",
    attributes: who.attributes,
    quality: who.connectionQuality,
    is_agent: who.kind === ParticipantKind.AGENT,
    tracks: Object.fromEntries([...who.trackPublications.values()].map((track) => [
      track.trackName,
      {
        sid: track.trackSid,
        name: track.trackName,
        kind: track.kind,
        source: track.source,
        is_muted: track.isMuted,
        is_subscribed: track.isSubscribed ?? true,
      },
    ])),
  };
}

window.join = async (identity, url, token, roomOptions, connectOptions) => {
  const client = new Client(roomOptions);
  clients.set(identity, client);
  await client.join(url, token, connectOptions);
};
window.client = (identity, method, ...given) => clients.get(identity)[method](...given);
