/**
 * What LiveKit's own components show of an agent: `?url=` and `?token=` say which room. They are
 * used as they come; what is added only writes down what they said, for the test to read.
 */

import {
  BarVisualizer,
  LiveKitRoom,
  RoomAudioRenderer,
  useTranscriptions,
  useVoiceAssistant,
} from "@livekit/components-react";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";

/** States and captions in the order in which the components gave them, without repetitions. */
window.seen = { states: [], captions: [] };

function Assistant() {
  const { state, agent, audioTrack } = useVoiceAssistant();
  useEffect(() => {
    window.seen.states.push(state);
  }, [state]);
  return (
    <section>
      <p id="state" data-agent={agent?.identity}>
        {state}
      </p>
      <BarVisualizer state={state} trackRef={audioTrack} />
    </section>
  );
}

function Captions() {
  const transcriptions = useTranscriptions();
  const captions = transcriptions.map(({ text, participantInfo, streamInfo }) => ({
    segment: streamInfo.attributes?.["lk.segment_id"],
    identity: participantInfo.identity,
    final: streamInfo.attributes?.["lk.transcription_final"],
    text,
  }));
  const now = JSON.stringify(captions);
  useEffect(() => {
    window.seen.captions.push(JSON.parse(now));
  }, [now]);
  return (
    <ol>
      {captions.map(({ segment, identity, final, text }, index) => (
        <li key={index} data-segment={segment} data-identity={identity} data-final={final}>
          {text}
        </li>
      ))}
    </ol>
  );
}

const query = new URLSearchParams(location.search);
createRoot(document.getElementById("root")).render(
  <LiveKitRoom serverUrl={query.get("url")} token={query.get("token")} connect audio>
    <Assistant />
    <Captions />
    <RoomAudioRenderer />
  </LiveKitRoom>,
);
