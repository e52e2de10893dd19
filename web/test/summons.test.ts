import { expect, it, vi } from "vitest";

import { Summons } from "../src/summons";

it("shows the token again and again while the agent is missing, after some patience", () => {
  const show = vi.fn(() => Promise.resolve());
  const summons = new Summons(show);
  summons.tick(true, 1_000);
  summons.tick(true, 2_900);
  expect(show).not.toHaveBeenCalled();
  summons.tick(true, 3_000);
  summons.tick(true, 5_900);
  expect(show).toHaveBeenCalledTimes(1);
  summons.tick(true, 6_000);
  expect(show).toHaveBeenCalledTimes(2);
});

it("is patient anew when the agent was there in between", () => {
  const show = vi.fn(() => Promise.resolve());
  const summons = new Summons(show);
  summons.tick(true, 0);
  summons.tick(false, 1_900);
  summons.tick(true, 2_000);
  summons.tick(true, 3_900);
  expect(show).not.toHaveBeenCalled();
});

it("outlives a gateway that is away", async () => {
  const show = vi.fn(() => Promise.reject(new Error("away")));
  const summons = new Summons(show);
  summons.tick(true, 0);
  summons.tick(true, 2_000);
  await Promise.resolve();
  summons.tick(true, 5_000);
  expect(show).toHaveBeenCalledTimes(2);
});
