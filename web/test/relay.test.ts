import { expect, test } from "vitest";

import { canRelay } from "../src/transport/relay";

test("TURN servers relay, over any transport, and STUN servers do not", () => {
  expect(canRelay([])).toBe(false);
  expect(canRelay([{ urls: "stun:a.example" }, { urls: ["stuns:b.example"] }])).toBe(false);
  expect(canRelay([{ urls: "stun:a.example" }, { urls: ["turn:b.example?transport=tcp"] }])).toBe(true);
  expect(canRelay([{ urls: ["turns:b.example"] }])).toBe(true);
});
