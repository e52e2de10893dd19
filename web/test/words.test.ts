/** Small pure pieces: names, people, levels, and the text that peers send. */

import { describe, expect, it } from "vitest";

import { loudness, Voice } from "../src/level";
import { isRoomName, roomOfPath, roomPath, suggestRoomName } from "../src/names";
import { hueOf, initialsOf, listed } from "../src/people";
import { chatText, MAX_CHAT_CHARS, parseText, receptionText } from "../src/transport/text";
import { parseFromGateway } from "../src/transport/signaling";

describe("rooms", () => {
  it("have names as the gateway wants them", () => {
    for (const name of ["a", "Garden 7", "über-uns", "v1.2_x", "x".repeat(64)]) {
      expect(isRoomName(name), name).toBe(true);
    }
    for (const name of ["", " a", "_a", "a.", "a/b", "a?", "x".repeat(65), "-"]) {
      expect(isRoomName(name), name).toBe(false);
    }
  });

  it("have paths that lead back to them", () => {
    for (const name of ["garden", "Garden 7", "über uns"]) {
      expect(roomOfPath(roomPath(name))).toBe(name);
    }
    for (const path of ["/", "/r/", "/r/a/b", "/x/a", "/r/%E0%A4%A"]) {
      expect(roomOfPath(path), path).toBeNull();
    }
  });

  it("are suggested by names that are allowed", () => {
    for (const random of [0, 0.25, 0.5, 0.999999]) {
      expect(isRoomName(suggestRoomName(() => random))).toBe(true);
    }
  });
});

describe("people", () => {
  it("have one hue, never Mulisa's", () => {
    const hues = new Set(Array.from({ length: 500 }, (_, i) => hueOf(`alice-${i}`)));
    expect(hues.size).toBe(10);
    for (const hue of hues) expect(hue < 270 || hue > 330, `${hue}`).toBe(true);
    expect(hueOf("alice-7f3k")).toBe(hueOf("alice-7f3k"));
  });

  it("have initials", () => {
    expect(["Bob", "ada lovelace", "Ana de Armas", "😀 smile", ""].map(initialsOf)).toEqual([
      "B",
      "AL",
      "AA",
      "😀S",
      "",
    ]);
  });

  it("are listed as one says it", () => {
    expect(listed([])).toBe("");
    expect(listed(["Alice"])).toBe("Alice");
    expect(listed(["Alice", "Bob", "Mulisa"])).toBe("Alice, Bob and Mulisa");
  });
});

describe("levels", () => {
  it("follow the ear: silence is 0, loud speech is 1, and louder is more", () => {
    expect(loudness(0)).toBe(0);
    expect(loudness(0.2)).toBe(1);
    expect(loudness(0.02)).toBeGreaterThan(loudness(0.01));
  });

  it("bridge the gaps between words but not between sentences", () => {
    const voice = new Voice();
    voice.receive(0.6, 0);
    voice.receive(0, 200);
    expect(voice.speaking).toBe(true);
    voice.receive(0, 500);
    expect(voice.speaking).toBe(false);
  });

  it("do not take a quiet room for speech", () => {
    const voice = new Voice();
    for (let now = 0; now < 1_000; now += 40) voice.receive(0.2, now);
    expect(voice.speaking).toBe(false);
  });
});

describe("text of peers", () => {
  it("is read as the protocol says", () => {
    const wire = {
      topic: "lk.transcription",
      segment_id: "S1",
      identity: "bob",
      text: "hello",
      final: true,
      interrupted: true,
      unspoken: "world",
    };
    expect(parseText(JSON.stringify(wire))).toEqual({
      topic: "lk.transcription",
      caption: {
        segmentId: "S1",
        identity: "bob",
        text: "hello",
        final: true,
        interrupted: true,
        unspoken: "world",
        listener: null,
      },
    });
    const whispered = parseText(JSON.stringify({ ...wire, listener: "alice" }));
    expect(whispered).toMatchObject({ caption: { listener: "alice" } });
    expect(parseText(chatText("1", "hi"))).toEqual({
      topic: "lk.chat",
      message: { id: "1", text: "hi", listener: null },
    });
    expect(parseText(receptionText(["alice", "bob"]))).toEqual({
      topic: "mulisa.reception",
      heard: ["alice", "bob"],
    });
  });

  it("is dropped when it breaks the protocol", () => {
    const bad: unknown[] = [
      "",
      "{",
      "null",
      "[]",
      '"lk.chat"',
      "{}",
      '{"topic":"lk.other","id":"1","text":"x"}',
      '{"topic":"lk.chat","id":1,"text":"x"}',
      '{"topic":"lk.chat","id":"1","text":""}',
      chatText("", "x"),
      chatText("bob:1", "x"),
      chatText("1".repeat(65), "x"),
      chatText("1", "x".repeat(MAX_CHAT_CHARS + 1)),
      chatText("1", "x".repeat(20_000)),
      '{"topic":"lk.transcription","segment_id":"1","identity":"b","text":"x"}',
      '{"topic":"lk.transcription","segment_id":"1","identity":"b","text":"x","final":1}',
      '{"topic":"lk.chat","id":"1","text":"x","listener":""}',
      '{"topic":"lk.chat","id":"1","text":"x","listener":1}',
      '{"topic":"mulisa.reception"}',
      '{"topic":"mulisa.reception","heard":"bob"}',
      '{"topic":"mulisa.reception","heard":["bob",1]}',
      '{"topic":"mulisa.reception","heard":[""]}',
      JSON.stringify({ topic: "mulisa.reception", heard: Array(501).fill("bob") }),
      new ArrayBuffer(4),
    ];
    for (const data of bad) expect(parseText(data), String(data).slice(0, 60)).toBeNull();
  });
});

it("messages of a later gateway are passed over", () => {
  expect(parseFromGateway('{"type":"room_updated"}')).toBeNull();
  expect(parseFromGateway('{"type":"closing","reason":"shutdown","extra":1}')).toMatchObject({
    type: "closing",
    reason: "shutdown",
  });
});
