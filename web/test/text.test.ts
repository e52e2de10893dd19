import { describe, expect, it } from "vitest";

import cases from "../../tests/golden/text.json";
import { parseText, type TextMessage } from "../src/transport/text";

/** All fields, under their names on the wire. */
function fields(message: TextMessage | null): unknown {
  if (message === null) return null;
  if (message.topic === "lk.transcription") {
    const { segmentId, ...caption } = message.caption;
    return { topic: message.topic, segment_id: segmentId, ...caption };
  }
  if (message.topic === "lk.chat") return { topic: message.topic, ...message.message };
  return message;
}

describe("what a peer sends on the data channel", () => {
  for (const { name, text, message } of cases) {
    it(`${name} is ${message === null ? "refused" : "understood"}`, () => {
      expect(fields(parseText(text))).toEqual(message);
    });
  }
});
