/** One stay in a LiveKit room, from connecting to the end: LiveKit's events become ours. */

import {
  ConnectionState,
  DefaultReconnectPolicy,
  type DisconnectReason,
  type RemoteParticipant,
  type RemoteTrackPublication,
  Room,
  RoomEvent,
  RpcError,
  type RpcInvocationData,
  setLogLevel,
  Track,
} from "livekit-client";

import { Inbox } from "./inbox";
import {
  connectionState,
  endReason,
  leaveReason,
  participantOf,
  receptionOf,
  ROUTED_METHOD,
  routedTrack,
} from "./livekit";
import { isSame, presenceEvents } from "./presence";
import { Publication } from "./publication";
import { canRelay } from "./relay";
import type { Tallies } from "./tally";
import { CAPTION_TOPIC, CHAT_TOPIC, RECEPTION_TOPIC, receptionText } from "./text";
import type { EndReason, LeaveReason, Participant, Receive, TransportEvent } from "./types";
import { Voices } from "./voices";

/** LiveKit's own attempts, before we come back with a fresh token. */
const RECONNECT_DELAYS_MS = [0, 300, 1_000, 2_000, 3_000];
const WEBSOCKET_TIMEOUT_MS = 10_000;
const UNSUBSCRIBED_WITHIN_MS = 5_000;
/** RPC errors of applications are below 1001 or above 1999. */
const BAD_PAYLOAD = 2_000;
const STILL_SUBSCRIBED = 2_001;

setLogLevel("warn");

/** A message that we typed. */
export interface Typed {
  readonly id: string;
  readonly text: string;
}

export interface StayListener {
  receive: Receive;
  /** The SFU lets us in, and media is about to be connected: what is published now goes with that. */
  greeted(): void;
  /** In, for the first time or again; `joined` has been reported. */
  entered(): void;
  /** The SFU is out of reach, and LiveKit has given up. Nothing follows. */
  lost(): void;
  /** Over for good. Nothing follows. */
  ended(reason: EndReason): void;
}

export interface StayOptions {
  readonly context: AudioContext;
  readonly relayOnly: boolean;
  readonly tallies: Tallies;
  readonly listener: StayListener;
}

export class Stay {
  readonly #publication: Publication;
  readonly #room: Room;
  readonly #relayOnly: boolean;
  readonly voices: Voices;
  #listener: StayListener | null;
  /** Everybody else, by identity, and ourselves, as last reported; null until we are in. */
  #present = new Map<string, Participant>();
  #local: Participant | null = null;
  #isGreeted = false;
  readonly #reasons = new Map<string, LeaveReason>();

  constructor({ context, relayOnly, tallies, listener }: StayOptions) {
    this.#listener = listener;
    this.#relayOnly = relayOnly;
    this.#room = new Room({
      disconnectOnPageLeave: false,
      reconnectPolicy: new DefaultReconnectPolicy(RECONNECT_DELAYS_MS),
      stopLocalTrackOnUnpublish: false,
      webAudioMix: { audioContext: context }, // we attach no track, and need no second context
    });
    this.voices = new Voices(tallies, (event) => this.#receive(event));
    this.#publication = new Publication(this.#room.localParticipant, context, () => {
      this.#receive({ type: "muted_by_host" });
    });
    this.#listen();
  }

  /** Enter; what comes of it is told to the listener. */
  async enter(url: string, token: string): Promise<void> {
    const rtcConfig: RTCConfiguration = this.#relayOnly ? { iceTransportPolicy: "relay" } : {};
    try {
      await this.#room.connect(url, token, {
        rtcConfig,
        maxRetries: 0,
        websocketTimeout: WEBSOCKET_TIMEOUT_MS,
      });
    } catch (error) {
      if (this.#listener !== null) console.warn("the SFU cannot be entered", error);
      this.#over(null);
    }
  }

  /** Idempotent. Nothing is reported any more. */
  leave(): void {
    this.#listener = null;
    this.#publication.close();
    this.voices.close();
    void this.#room.disconnect(false);
  }

  /** What everybody shall hear of us; before we are greeted nothing is. */
  publish(track: MediaStreamTrack | null, muted: boolean): void {
    if (this.#isGreeted) this.#publication.set(track, muted);
  }

  /** Rejected if it cannot be sent now. */
  async sendChat({ id, text }: Typed): Promise<void> {
    if (this.#local === null) throw new Error("we are not in the room");
    const writer = await this.#room.localParticipant.streamText({ topic: CHAT_TOPIC, streamId: id });
    await writer.write(text);
    await writer.close();
  }

  async sendReception(heard: readonly string[]): Promise<void> {
    if (this.#room.state !== ConnectionState.Connected) return;
    const payload = new TextEncoder().encode(receptionText(heard));
    const options = { reliable: false, topic: RECEPTION_TOPIC };
    try {
      await this.#room.localParticipant.publishData(payload, options);
    } catch (error) {
      console.debug("what we hear could not be told", error); // it is of no use later
    }
  }

  /** By the packets, if the SFU lets their level through, else as the SFU tells now and then. */
  audioLevel(identity: string): number | null {
    const told = this.#room.remoteParticipants.get(identity)?.audioLevel ?? null;
    return this.voices.audioLevel(identity) ?? told;
  }

  /** `publisher` and `subscriber`, which is one connection wherever the SFU allows that. */
  connections(): Map<string, RTCPeerConnection> {
    const { publisher, subscriber } = (this.#room.engine as unknown as Engine | undefined)?.pcManager ?? {};
    const connections = new Map<string, RTCPeerConnection>();
    if (publisher?._pc) connections.set("publisher", publisher._pc);
    const downward = (subscriber ?? publisher)?._pc;
    if (downward) connections.set("subscriber", downward);
    return connections;
  }

  #listen(): void {
    this.#listenForPeople();
    this.#listenForTracks();
    this.#room
      .on(RoomEvent.SignalConnected, () => this.#greeted())
      .on(RoomEvent.Connected, () => this.#entered())
      .on(RoomEvent.SignalReconnecting, () => this.#interrupted([]))
      .on(RoomEvent.Reconnecting, () => this.#interrupted([...this.#present.keys()]))
      .on(RoomEvent.Reconnected, () => this.#entered())
      .on(RoomEvent.Disconnected, (reason) => this.#over(endReason(reason)))
      .on(RoomEvent.DataReceived, (payload, participant, _, topic) => {
        const heard = topic === RECEPTION_TOPIC ? receptionOf(payload) : null;
        if (participant === undefined || heard === null) return;
        this.#receive({ type: "reception_received", identity: participant.identity, heard });
      });
    const inbox = new Inbox(
      (identity) => this.#present.get(identity)?.kind === "agent",
      (event) => this.#receive(event),
    );
    this.#room.registerTextStreamHandler(CAPTION_TOPIC, (reader, { identity }) => {
      inbox.caption(reader, identity);
    });
    this.#room.registerTextStreamHandler(CHAT_TOPIC, (reader, { identity }) => {
      void inbox.chat(reader, identity);
    });
    this.#room.registerRpcMethod(ROUTED_METHOD, (call) => this.#routed(call));
  }

  /** Once: when LiveKit comes back by its own means, it publishes again by itself. */
  #greeted(): void {
    this.#lookForRelay();
    if (this.#isGreeted) return;
    this.#isGreeted = true;
    this.#listener?.greeted();
  }

  /** The SFU has told its servers, and connections are made with them. */
  #lookForRelay(): void {
    const connections = [...this.connections().values()];
    const isHopeless = connections.every((each) => !canRelay(each.getConfiguration().iceServers ?? []));
    if (this.#relayOnly && isHopeless) this.#over("no_relay");
  }

  #listenForPeople(): void {
    const changed = () => this.#presenceChanged();
    this.#room
      .on(RoomEvent.ParticipantConnected, changed)
      .on(RoomEvent.ParticipantDisconnected, (participant, reason?: DisconnectReason) => {
        this.#reasons.set(participant.sid, leaveReason(reason));
        changed();
      })
      .on(RoomEvent.ParticipantAttributesChanged, changed)
      .on(RoomEvent.ParticipantNameChanged, changed)
      .on(RoomEvent.TrackMuted, changed)
      .on(RoomEvent.TrackUnmuted, changed)
      .on(RoomEvent.TrackUnpublished, changed)
      .on(RoomEvent.LocalTrackPublished, changed)
      .on(RoomEvent.LocalTrackUnpublished, changed)
      .on(RoomEvent.ConnectionQualityChanged, (quality, { identity }) => {
        const state = connectionState(quality);
        if (state === null || !this.#present.has(identity)) return;
        this.#receive({ type: "connection_changed", identity, state });
      });
  }

  #listenForTracks(): void {
    this.#room
      .on(RoomEvent.TrackPublished, (publication) => {
        refuseVideo(publication);
        this.#presenceChanged();
      })
      .on(RoomEvent.TrackSubscribed, (track, { trackSid }, { identity }) => {
        if (track.kind !== Track.Kind.Audio) return;
        this.#reconcile();
        this.voices.add(identity, track, trackSid);
      })
      .on(RoomEvent.TrackUnsubscribed, (_, { trackSid }, { identity }) => {
        this.voices.drop(identity, trackSid);
      });
  }

  /** In for the first time, or again after an interruption. */
  #entered(): void {
    if (this.#listener === null) return;
    this.#present = this.#people();
    this.#local = participantOf(this.#room.localParticipant);
    const participants = [...this.#present.values()];
    this.#receive({ type: "joined", local: this.#local, participants });
    for (const participant of participants) this.#met(participant);
    for (const { trackPublications } of this.#room.remoteParticipants.values()) {
      trackPublications.forEach(refuseVideo);
    }
    this.#listener.entered();
  }

  /** One connection brings everybody's voice: whoever is in the room is connected. */
  #met({ identity, kind }: Participant): void {
    if (kind === "agent") this.voices.expectAgent(identity);
    this.#receive({ type: "connection_changed", identity, state: "connected" });
  }

  #interrupted(whose: readonly string[]): void {
    this.#receive({ type: "signaling_lost" });
    for (const identity of whose) {
      this.#receive({ type: "connection_changed", identity, state: "interrupted" });
    }
  }

  /** Not at once: while LiveKit reconnects it takes everybody for gone, and says so before. */
  #presenceChanged(): void {
    queueMicrotask(() => this.#reconcile());
  }

  #reconcile(): void {
    if (this.#local === null || this.#room.state !== ConnectionState.Connected) return;
    const now = this.#people();
    const reasonOf = (sid: string) => this.#reasons.get(sid) ?? "left";
    const events = presenceEvents(this.#present, now, reasonOf);
    this.#present = now;
    for (const event of events) {
      if (event.type === "participant_left") this.voices.forget(event.identity);
      this.#receive(event);
      if (event.type === "participant_joined") this.#met(event.participant);
    }
    const local = participantOf(this.#room.localParticipant);
    if (isSame(local, this.#local)) return;
    this.#local = local;
    this.#receive({ type: "participant_updated", participant: local });
  }

  #people(): Map<string, Participant> {
    const people = [...this.#room.remoteParticipants.values()].sort(byArrival).map(participantOf);
    return new Map(people.map((participant) => [participant.identity, participant]));
  }

  /** An agent has excluded us from a track: we say when it has ceased to come. */
  async #routed({ payload }: RpcInvocationData): Promise<string> {
    const sid = routedTrack(payload);
    if (sid === null) throw new RpcError(BAD_PAYLOAD, 'the payload is {"track": sid}');
    if (await this.voices.without(sid, UNSUBSCRIBED_WITHIN_MS)) return "ok";
    throw new RpcError(STILL_SUBSCRIBED, "the track still comes");
  }

  #receive(event: TransportEvent): void {
    this.#listener?.receive(event);
  }

  #over(reason: EndReason | null): void {
    const listener = this.#listener;
    this.leave();
    if (reason === null) listener?.lost();
    else listener?.ended(reason);
  }
}

/** Whoever came first is first, as in a mesh. */
function byArrival(one: RemoteParticipant, other: RemoteParticipant): number {
  const [at, otherAt] = [one, other].map(({ joinedAt }) => joinedAt?.getTime() ?? 0);
  return (at ?? 0) - (otherAt ?? 0) || (one.identity < other.identity ? -1 : 1);
}

/** This is a room of voices: what nobody sees need not be sent. */
function refuseVideo(publication: RemoteTrackPublication): void {
  if (publication.kind === Track.Kind.Video) publication.setSubscribed(false);
}

/** LiveKit shows its connections to its own code only; for measurements we look all the same. */
interface Engine {
  readonly pcManager?: Record<"publisher" | "subscriber", { readonly _pc: RTCPeerConnection | null } | undefined>;
}
