// @vitest-environment happy-dom

import { render } from "lit";
import { describe, expect, it } from "vitest";

import { draw } from "../src/report/chart";
import { fullPlaces, isLine, labels, number, placeLabel, placeName } from "../src/report/layout";
import type { Chart, Mark, Report, Section, Topology } from "../src/report/model";
import { page } from "../src/report/page";

const mark = (topology: Topology, x: number | string, median: number): Mark => ({
  topology,
  x,
  median,
  low: median - 1,
  high: median + 1,
  saturated: false,
});

const chart = (marks: Mark[], more: Partial<Chart> = {}): Chart => ({
  title: "Connections",
  unit: "connections",
  condition: "",
  over: "people",
  beside: "Measured against theory: mesh as it says.",
  ceiling: 10,
  marks,
  theory: [],
  beyond: [],
  ...more,
});

const LINES = [mark("mesh", 2, 2), mark("mesh", 4, 4), mark("sfu", 2, 1), mark("sfu", 4, 1)];

describe("a chart", () => {
  it("is lines over several sizes, else bars", () => {
    expect(isLine(chart(LINES))).toBe(true);
    expect(isLine(chart([mark("mesh", 2, 2), mark("sfu", 2, 1)]))).toBe(false);
    const conditions = [mark("mesh", "loss", 2), mark("mesh", "jitter", 3)];
    expect(isLine(chart(conditions, { over: "conditions" }))).toBe(false);
  });

  it("names each line at its end", () => {
    expect(labels(chart(LINES), 200)).toEqual([
      { topology: "mesh", x: 4, y: 4, shift: 0 },
      { topology: "sfu", x: 4, y: 1, shift: 0 },
    ]);
  });

  it("keeps names apart that would stand on each other", () => {
    const same = [mark("mesh", 4, 3), mark("sfu", 4, 3)];
    expect(labels(chart(same), 200).map((label) => label.shift)).toEqual([-7.5, 7.5]);
    const near = [mark("mesh", 4, 3), mark("sfu", 4, 3.5)];
    const shifts = labels(chart(near), 200).map(({ topology, shift }) => [topology, shift]);
    expect(shifts).toEqual([
      ["sfu", -2.5],
      ["mesh", 2.5],
    ]);
  });

  it("keeps three names apart, in the order of their lines", () => {
    const same = [mark("mesh", 4, 3), mark("sfu", 4, 3), mark("mediasoup", 4, 3)];
    expect(labels(chart(same), 200).map((label) => label.shift)).toEqual([-15, 0, 15]);
    const near = [mark("mesh", 4, 9), mark("sfu", 4, 3), mark("mediasoup", 4, 3.5)];
    const shifts = labels(chart(near), 200).map(({ topology, shift }) => [topology, shift]);
    expect(shifts).toEqual([
      ["mesh", 0],
      ["mediasoup", -2.5],
      ["sfu", 2.5],
    ]);
  });

  it("names the end of what is foretold", () => {
    const beyond = [{ topology: "mesh", x: 20, y: 9 }] as const;
    expect(labels(chart(LINES, { beyond }), 200)[0]).toMatchObject({ x: 20, y: 9 });
  });

  it("says once that the machine was full", () => {
    const full = [
      { ...mark("mesh", 6, 4), saturated: true },
      { ...mark("sfu", 6, 2), saturated: true },
    ];
    expect(fullPlaces([...LINES, ...full])).toEqual([{ x: 6, y: 5 }]);
    const smaller = { ...mark("mesh", 4, 9), saturated: true };
    expect(fullPlaces([smaller, ...full])).toEqual([{ x: 6, y: 5 }]);
    expect(fullPlaces(LINES)).toEqual([]);
  });

  it("has sensible digits", () => {
    expect([4, 0.537, 5.38, 228.4, 1437].map(number)).toEqual(["4", "0.54", "5.4", "228", "1,437"]);
    expect(placeName(chart(LINES), 4)).toBe("4 people");
    const full = chart([{ ...mark("mesh", 4, 3), saturated: true }]);
    expect(placeLabel(full, 4)).toBe("4 people, machine full");
    expect(placeLabel(chart(LINES), 4)).toBe("4 people");
  });

  it("is drawn with both hues and names, and without a style that the policy forbids", () => {
    for (const each of [chart(LINES), chart([mark("mesh", 2, 2), mark("sfu", 2, 1)])]) {
      const drawn = draw(each, 320);
      expect(drawn.querySelector("style")).toBeNull();
      expect(drawn.outerHTML).toContain("var(--mesh)");
      expect(drawn.outerHTML).toContain("var(--sfu)");
      expect(drawn.textContent).toMatch(/mesh/);
      expect(drawn.textContent).toMatch(/SFU/);
    }
  });
});

const SECTION: Section = {
  name: "connections",
  title: "Connections",
  plain: "What it is.",
  see: "What to see.",
  how: "By counting.",
  missing: "",
  agreement: "As theory says.",
  notes: [],
  charts: [chart(LINES)],
  tables: [
    {
      title: "Connections",
      unit: "",
      each: "person",
      topologies: ["mesh", "sfu"],
      lines: [{ people: 4, condition: "", cells: [null, null] }],
    },
  ],
  breaks: [{ topology: "mesh", what: "a core is full", people: null, law: "A constant." }],
};

const HOSTILE = "<img src=x onerror=alert(1)>";

const REPORT: Report = {
  story: {
    people: 4,
    headline: "The verdict",
    paragraph: "In plain words.",
    caveat: "",
    topologies: ["mesh", "sfu", "mediasoup"],
    lines: [
      {
        row: "connections",
        title: "Connections",
        condition: "",
        unit: "",
        people: 4,
        medians: ["4", "1", ""],
        ratio: "4 : 1",
        saturated: false,
      },
    ],
  },
  facts: ["today"],
  remarks: [HOSTILE],
  sections: [SECTION, { ...SECTION, name: "nats", missing: "It needs root.", charts: [] }],
  method: [],
  machine: [["Command", HOSTILE]],
  versions: [],
  stacks: [],
  files: [{ name: "result.json", type: "application/json", text: "{}" }],
};

describe("the page", () => {
  const root = document.createElement("main");
  render(page(REPORT), root);

  it("begins with the verdict", () => {
    expect(root.querySelector("h1")?.textContent).toBe("The verdict");
  });

  it("makes text of whatever a name holds", () => {
    expect(root.querySelector("img")).toBeNull();
    expect(root.querySelector("dd")?.textContent).toBe(HOSTILE);
  });

  it("says why a row is missing, and draws none of it", () => {
    expect(root.querySelector("#nats")?.textContent).toContain("It needs root.");
    expect(root.querySelectorAll("figure")).toHaveLength(1);
  });

  it("has a column for each that was measured, and a dash for what was not", () => {
    const texts = (where: string) =>
      [...root.querySelectorAll(where)].map((each) => each.textContent.trim());
    expect(texts(".summary thead th").slice(1, 4)).toEqual(["mesh", "SFU", "mediasoup"]);
    expect(texts(".summary tbody td")).toEqual(["4", "1", "–", "4 : 1"]);
    expect(texts("#connections .all thead th")).toEqual(["people", "mesh", "SFU"]);
    expect(texts("#connections .all tbody td")).toEqual(["–", "–"]);
    expect(texts(".breaks thead th")).toEqual(["when", "mesh", "SFU"]);
    expect(root.querySelector(".key")?.textContent).toContain("mediasoup is a further SFU");
  });

  it("says what no limit was found for", () => {
    expect(root.querySelector(".breaks")?.textContent).toContain("not in sight");
  });

  it("tells a chart to who cannot see it", () => {
    const drawing = root.querySelector(".drawing");
    expect(drawing?.getAttribute("aria-label")).toContain("mesh 2: 2, mesh 4: 4, SFU 2: 1");
  });
});
