/** The report: reads what `mulisa compare` put into the page, and shows it. */

import "../tokens.css";
import "./report.css";

import { render } from "lit";

import { draw } from "./chart";
import type { Chart, Report } from "./model";
import { page } from "./page";

type Drawing = HTMLElement & { chart: Chart };
type FileButton = HTMLButtonElement & { file: Report["files"][number] };

/** Pixels: what a chart on A4 is drawn for. */
const PAPER_WIDTH = 330;
const SMALLEST = 240;

const data = document.getElementById("report")?.textContent ?? "";
const report = JSON.parse(data) as Report;
const root = document.getElementById("page");
if (root === null) throw new Error("this page has no place for a report");

render(page(report), root);
document.title = `Mesh or SFU? ${report.story.headline}`;

const drawings = [...root.querySelectorAll<Drawing>(".drawing")];

function redraw(width?: number): void {
  for (const each of drawings) {
    each.replaceChildren(draw(each.chart, width ?? Math.max(SMALLEST, each.clientWidth)));
  }
}

let drawnWidth = 0;
new ResizeObserver(([entry]) => {
  const width = Math.round(entry?.contentRect.width ?? 0);
  if (width === drawnWidth) return;
  drawnWidth = width;
  redraw();
}).observe(root);

addEventListener("beforeprint", () => redraw(PAPER_WIDTH));
addEventListener("afterprint", () => redraw());

root.querySelector("#theme")?.addEventListener("click", () => {
  const { dataset } = document.documentElement;
  const isDark = dataset.theme
    ? dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = isDark ? "light" : "dark";
});

for (const button of root.querySelectorAll<FileButton>("button.file")) {
  button.addEventListener("click", () => save(button.file));
}

function save({ name, type, text }: Report["files"][number]): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
