/** Draws a chart of the report. Dot: median; bar: spread; pale band: theory; dotted: foretold. */

import * as Plot from "@observablehq/plot";

import { fullPlaces, isLine, labels, number, placeLabel, placeName, sizes } from "./layout";
import { type Chart, type Mark, NAMES, type Place, TOPOLOGIES, type Topology } from "./model";

const HEIGHT = 220;
const MARGIN = { top: 20, right: 48, bottom: 34, left: 44 } as const;
/** Pixels by which the topologies stand beside each other. */
const ASIDE: Readonly<Record<Topology, number>> = { mesh: -3, sfu: 3, mediasoup: 9 };
const SYMBOL = { mesh: "circle", sfu: "square", mediasoup: "triangle" } as const;
const COLOUR = {
  mesh: "var(--mesh)",
  sfu: "var(--sfu)",
  mediasoup: "var(--mediasoup)",
} as const;
/** Pixels of one character of a name. */
const LETTER = 7.5;

/** `width` in pixels. The drawing scales when it is printed. */
export function draw(chart: Chart, width: number): Element {
  const plot = isLine(chart) ? drawLines(chart, width) : drawBars(chart, width);
  // Its own style element is not in the page's policy; report.css has what is needed of it.
  plot.querySelector("style")?.remove();
  plot.removeAttribute("font-family");
  return plot;
}

function drawLines(chart: Chart, width: number): Element {
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  const measured = sizes(chart.marks);
  const beside = 9 + Math.max(...shownIn(chart).map((each) => ASIDE[each]));
  const [first, last] = [measured[0] ?? 1, measured.at(-1) ?? 1];
  const furthest = Math.max(last, ...chart.beyond.map((point) => Number(point.x)));
  const pad = (furthest - first) * 0.04;
  return Plot.plot({
    ...frame(width, HEIGHT),
    marginRight: beside + 6 + LETTER * longest(chart),
    x: { domain: [first - pad, furthest + pad], label: null },
    y: { domain: [0, chart.ceiling], nice: true, label: null },
    marks: [
      Plot.gridY({ ticks: 4, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.axisY({ ticks: 4, tickSize: 0, tickFormat: number }),
      Plot.axisX({
        ticks: furthest > last ? [...measured, ...tens(last, furthest)] : measured,
        tickSize: 0,
        tickFormat: String,
        label: "people in the call, beside Mulisa",
        labelAnchor: "center",
        labelArrow: "none",
      }),
      ...(furthest > last ? [extrapolated(last, furthest)] : []),
      ...TOPOLOGIES.flatMap((topology) => lineOf(chart, topology)),
      Plot.text(fullPlaces(chart.marks), {
        x: "x",
        y: "y",
        text: () => "machine full",
        fill: "var(--ink-soft)",
        textAnchor: "end",
        dx: furthest > last ? -4 : 8,
        dy: -14,
      }),
      ...labels(chart, height).map((label) =>
        Plot.text([label], {
          x: "x",
          y: "y",
          text: () => NAMES[label.topology],
          fill: COLOUR[label.topology],
          className: "label",
          textAnchor: "start",
          dx: beside,
          dy: label.shift,
        }),
      ),
    ],
  });
}

/** One topology: what theory says, what was measured, what is foretold. */
function lineOf(chart: Chart, topology: Topology): Plot.Markish[] {
  const stroke = COLOUR[topology];
  const marks = chart.marks.filter((mark) => mark.topology === topology);
  const theory = chart.theory.filter((point) => point.topology === topology);
  const beyond = chart.beyond.filter((point) => point.topology === topology);
  const aside = { dx: ASIDE[topology] };
  return [
    Plot.line(theory, { x: "x", y: "y", stroke, className: "theory", strokeWidth: 9 }),
    Plot.line(beyond, { x: "x", y: "y", stroke, strokeDasharray: "1 5", strokeWidth: 2 }),
    Plot.line(marks, { x: "x", y: "median", stroke, strokeWidth: 1.5, ...aside }),
    Plot.ruleX(marks, { x: "x", y1: "low", y2: "high", stroke, strokeWidth: 2.5, ...aside }),
    Plot.dot(marks, { x: "x", y: "median", ...dotOf(topology), ...aside }),
  ];
}

/** Filled where the measurement is sound, hollow where the machine was at its limit. */
function dotOf(topology: Topology): Plot.DotOptions {
  return {
    symbol: SYMBOL[topology],
    r: 4.5,
    stroke: COLOUR[topology],
    strokeWidth: 2,
    fill: (mark: Mark) => (mark.saturated ? "var(--surface)" : COLOUR[topology]),
  };
}

function extrapolated(from: number, to: number): Plot.Markish {
  return Plot.text([(from + to) / 2], {
    x: (place: number) => place,
    frameAnchor: "top",
    text: () => "extrapolated, not measured",
    fill: "var(--ink-soft)",
    dy: -18,
  });
}

/** Some whole numbers between the last measured size and the furthest. */
function tens(last: number, furthest: number): number[] {
  const step = furthest - last > 8 ? 5 : 2;
  const first = (Math.floor(last / step) + 1) * step;
  const found = [];
  for (let size = first; size <= furthest; size += step) found.push(size);
  return found.filter((size) => size - last > 1);
}

/** Conditions, or one size: a bar for each topology, with its name and its value. */
function drawBars(chart: Chart, width: number): Element {
  const places = [...new Set(chart.marks.map((mark) => mark.x))];
  const groups = places.map((place) => placeName(chart, place));
  const shown = shownIn(chart);
  const height = MARGIN.top + 10 + places.length * 32 * shown.length;
  return Plot.plot({
    ...frame(width, height),
    marginBottom: 10,
    marginLeft: 6,
    marginRight: 64 + LETTER * longest(chart),
    x: { domain: [0, chart.ceiling], label: null, axis: null },
    y: { domain: shown, axis: null, padding: 0.2 },
    fy: { domain: groups, axis: null, padding: 0.3 },
    marks: [
      Plot.text(places, {
        fy: (place: Place) => placeName(chart, place),
        text: (place: Place) => placeLabel(chart, place),
        frameAnchor: "top-left",
        dy: -14,
        fill: "var(--ink-soft)",
      }),
      ...TOPOLOGIES.flatMap((topology) => barsOf(chart, topology)),
    ],
  });
}

function barsOf(chart: Chart, topology: Topology): Plot.Markish[] {
  const stroke = COLOUR[topology];
  const marks = chart.marks.filter((mark) => mark.topology === topology);
  const theory = chart.theory.filter((point) => point.topology === topology);
  const place = {
    y: () => topology,
    fy: ({ x }: { x: number | string }) => placeName(chart, x),
  };
  return [
    Plot.barX(theory, { ...place, x1: 0, x2: "y", fill: stroke, className: "theory" }),
    Plot.barX(marks, { ...place, ...barOf(topology), x1: 0, x2: "median" }),
    Plot.ruleY(marks, { ...place, x1: "low", x2: "high", stroke: "var(--ink)", strokeWidth: 1.5 }),
    Plot.text(marks, {
      ...place,
      x: "high",
      text: ({ median }: Mark) => `${NAMES[topology]} ${number(median)}`,
      fill: stroke,
      className: "label",
      textAnchor: "start",
      dx: 8,
    }),
  ];
}

/** Filled or hollow, as the dots are. */
function barOf(topology: Topology): Plot.BarXOptions {
  return {
    stroke: COLOUR[topology],
    strokeWidth: 1.5,
    fill: (mark: Mark) => (mark.saturated ? "var(--surface)" : COLOUR[topology]),
    insetTop: 5,
    insetBottom: 5,
  };
}

function shownIn(chart: Chart): Topology[] {
  return TOPOLOGIES.filter((each) => chart.marks.some(({ topology }) => topology === each));
}

/** Characters of the longest name. */
function longest(chart: Chart): number {
  return Math.max(0, ...shownIn(chart).map((each) => NAMES[each].length));
}

function frame(width: number, height: number): Plot.PlotOptions {
  return {
    width,
    height,
    marginTop: MARGIN.top,
    marginRight: MARGIN.right,
    marginBottom: MARGIN.bottom,
    marginLeft: MARGIN.left,
    className: "plot",
  };
}
