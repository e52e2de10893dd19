/** Where things stand in a chart. Pure. */

import { type Chart, type Mark, type Place, TOPOLOGIES, type Topology } from "./model";

/** A topology's name at the end of its line. */
export interface Label {
  readonly topology: Topology;
  readonly x: Place;
  readonly y: number;
  /** Pixels down, so that two names do not stand on each other. */
  readonly shift: number;
}

/** Pixels between two lines of text. */
const LINE = 15;

/** Over people if there are several sizes; else there is no line to draw, but bars. */
export function isLine(chart: Chart): boolean {
  return chart.over === "people" && new Set(chart.marks.map((mark) => mark.x)).size > 1;
}

/** Where each line ends, with what was foretold. `height` is that of the plot in pixels. */
export function labels(chart: Chart, height: number): Label[] {
  const ends = TOPOLOGIES.flatMap((topology) => end(chart, topology));
  const places = [...new Set(ends.map(({ x }) => x))];
  return places.flatMap((place) =>
    apart(
      ends.filter(({ x }) => x === place),
      height / chart.ceiling,
    ),
  );
}

/** From top to bottom; those that would stand on each other stand around their middle. */
function apart(ends: readonly Label[], scale: number): Label[] {
  const sorted = [...ends].sort((a, b) => b.y - a.y);
  const blocks: Label[][] = [];
  for (const label of sorted) {
    let block = [label];
    for (let above = blocks.at(-1); above && overlap(above, block, scale); above = blocks.at(-1)) {
      blocks.pop();
      block = [...above, ...block];
    }
    blocks.push(block);
  }
  return blocks.flatMap((block) => stacked(block, scale));
}

function overlap(above: readonly Label[], below: readonly Label[], scale: number): boolean {
  const room = (middle(above) - middle(below)) * scale;
  return room < ((above.length + below.length) / 2) * LINE;
}

function stacked(block: readonly Label[], scale: number): Label[] {
  const top = -((block.length - 1) / 2) * LINE;
  return block.map((label, place) => {
    const shift = (label.y - middle(block)) * scale + top + place * LINE;
    return { ...label, shift };
  });
}

const middle = (block: readonly Label[]): number =>
  block.reduce((sum, { y }) => sum + y, 0) / block.length;

function end({ marks, beyond }: Chart, topology: Topology): Label[] {
  const measured = marks.filter((mark) => mark.topology === topology);
  const all = [
    ...measured.map(({ x, median }) => ({ x, y: median })),
    ...beyond.filter((point) => point.topology === topology),
  ];
  const last = all.at(-1);
  return last === undefined ? [] : [{ topology, x: last.x, y: last.y, shift: 0 }];
}

/** The sizes that were measured, the smallest first. */
export function sizes(marks: readonly Mark[]): number[] {
  return [...new Set(marks.map((mark) => Number(mark.x)))].sort((a, b) => a - b);
}

/**
 * Where "machine full" stands: above the largest size measured then. Smaller ones are hollow all
 * the same; a word at each would stand in the way of the others.
 */
export function fullPlaces(marks: readonly Mark[]): { readonly x: Place; readonly y: number }[] {
  const full = marks.filter(({ saturated }) => saturated);
  const x = full.at(-1)?.x;
  if (x === undefined) return [];
  const largest = full.reduce((last, mark) => (mark.x > last ? mark.x : last), x);
  const there = full.filter((mark) => mark.x === largest).map(({ high }) => high);
  return [{ x: largest, y: Math.max(...there) }];
}

/** What a bar of a chart without lines is named: the condition, or the size. */
export function placeName(chart: Chart, place: Place): string {
  return chart.over === "people" ? `${place} people` : String(place);
}

/** What stands above its bars: its name, and whether the machine was full. */
export function placeLabel(chart: Chart, place: Place): string {
  const isFull = chart.marks.some((mark) => mark.x === place && mark.saturated);
  return `${placeName(chart, place)}${isFull ? ", machine full" : ""}`;
}

/** With sensible digits, as in the tables. */
export function number(value: number): string {
  const size = Math.abs(value);
  const digits = Number.isInteger(value) || size >= 100 ? 0 : size >= 1 ? 1 : 2;
  const style = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en", style);
}
