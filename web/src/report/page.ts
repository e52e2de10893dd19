/** The report as text and tables; charts are put in where `figure` elements stand. */

import { html, nothing, type TemplateResult } from "lit";

import { type Break, type Cell, type Chart, NAMES, type Report, TOPOLOGIES } from "./model";
import type { Section, Stack, SummaryLine, Table, TableLine, Topology } from "./model";

export function page(report: Report): TemplateResult {
  return html`
    ${top(report)} ${summary(report)} ${howToRead(report)}
    ${report.sections.map((each) => section(each))} ${method(report)} ${files(report)}
  `;
}

function top({ story, facts, remarks }: Report): TemplateResult {
  return html`
    <header>
      <div class="kicker">
        <span>Mesh or SFU? Measured.</span>
        <button type="button" id="theme">Light or dark</button>
      </div>
      <h1>${story.headline}</h1>
      <p class="facts">${facts.join(" · ")}</p>
      <p class="lead">${story.paragraph}</p>
      ${[story.caveat, ...remarks]
        .filter((remark) => remark !== "")
        .map((remark) => html`<p class="note">${remark}</p>`)}
    </header>
  `;
}

function summary({ story }: Report): TemplateResult | typeof nothing {
  if (story.lines.length === 0) return nothing;
  return html`
    <section class="summary" aria-label="Summary">
      <table>
        <caption>${people(story.people)} and Mulisa, medians</caption>
        <thead>
          <tr>
            <th scope="col"><span class="unseen">What</span></th>
            ${columns(story.topologies)}
            <th scope="col">mesh&nbsp;:&nbsp;SFU</th>
          </tr>
        </thead>
        <tbody>
          ${story.lines.map((line) => summaryLine(line, story.people))}
        </tbody>
      </table>
    </section>
  `;
}

function summaryLine(line: SummaryLine, told: number): TemplateResult {
  const condition = line.condition === "" ? "" : `, ${line.condition}`;
  const size = line.people === told ? nothing : html` <small>with ${people(line.people)}</small>`;
  const full = line.saturated ? html` <small class="full">machine full</small>` : nothing;
  return html`
    <tr>
      <th scope="row">
        <a href="#${line.row}">${line.title}${condition}</a> <small>${line.unit}</small>${size}${full}
      </th>
      ${line.medians.map((median) => html`<td>${median || "–"}</td>`)}
      <td>${line.ratio}</td>
    </tr>
  `;
}

const columns = (topologies: readonly Topology[]) =>
  topologies.map((each) => html`<th scope="col" class=${each}>${NAMES[each]}</th>`);

function howToRead({ story }: Report): TemplateResult {
  const further = story.topologies.includes("mediasoup")
    ? html`, <span class="mediasoup"><i class="dot pointed"></i> mediasoup</span> is a further SFU`
    : nothing;
  return html`
    <aside class="key">
      <h2>How to read the charts</h2>
      <p>
        <span class="mesh"><i class="dot round"></i> mesh</span> and
        <span class="sfu"><i class="dot"></i> SFU</span>${further}: a mark is the median of what was
        measured, its bar the spread. The <i class="band"></i> pale band is what theory says. A
        <i class="dot hollow"></i> hollow mark was measured while the machine itself was full: do
        not blame the topology. What is <i class="dots"></i> dotted is extrapolated.
      </p>
    </aside>
  `;
}

function section(each: Section): TemplateResult {
  const { name, title, plain, see, how, missing, agreement, notes, charts, tables } = each;
  if (missing !== "") {
    return html`
      <section id=${name}>
        <h2>${title}</h2>
        <p class="plain">${plain}</p>
        <p class="missing">Not in this report: ${missing}</p>
      </section>
    `;
  }
  return html`
    <section id=${name}>
      <h2>${title}</h2>
      <p class="plain">${plain}</p>
      <p class="see">${see}</p>
      <div class="charts">${charts.map((chart) => figure(chart))}</div>
      ${breaking(each.breaks)}
      <p class="how"><b>How it is measured.</b> ${how} ${agreement}</p>
      ${notes.map((note) => html`<p class="note">${note}</p>`)}
      <details>
        <summary>All figures, with theory and spread</summary>
        <div class="tables">${tables.map((each) => table(each))}</div>
      </details>
    </section>
  `;
}

function figure(chart: Chart): TemplateResult {
  const condition = chart.condition === "" ? nothing : html`, ${chart.condition}`;
  return html`
    <figure>
      <figcaption>${chart.title}${condition} <small>${chart.unit}</small></figcaption>
      <div class="drawing" role="img" aria-label=${spoken(chart)} .chart=${chart}></div>
      ${chart.beside === "" ? nothing : html`<p class="beside">${chart.beside}</p>`}
    </figure>
  `;
}

/** A chart for who cannot see it; every number is in the table below. */
function spoken({ title, unit, marks }: Chart): string {
  const values = marks.map(({ topology, x, median }) => `${NAMES[topology]} ${x}: ${median}`);
  return `${title}${unit === "" ? "" : `, ${unit}`}. ${values.join(", ")}.`;
}

function table({ title, unit, each, topologies, lines }: Table): TemplateResult {
  const hasConditions = lines.some((line) => line.condition !== "");
  return html`
    <table class="all">
      <caption>${title} <small>${unit === "" ? "" : `${unit}, `}one sample per ${each}</small></caption>
      <thead>
        <tr>
          <th scope="col">people</th>
          ${columns(topologies)}
        </tr>
      </thead>
      <tbody>
        ${lines.map((line) => tableLine(line, hasConditions))}
      </tbody>
    </table>
  `;
}

function tableLine(line: TableLine, hasConditions: boolean): TemplateResult {
  return html`
    <tr>
      <th scope="row">
        ${line.people} ${hasConditions ? html`<small>${line.condition}</small>` : nothing}
      </th>
      ${line.cells.map((each) => html`<td>${cell(each)}</td>`)}
    </tr>
  `;
}

function cell(each: Cell | null): TemplateResult | string {
  if (each === null) return "–";
  return html`
    <b>${each.median}</b>
    ${aside(each.extent)} ${aside(each.theory)} ${aside(each.saturated ? "machine full" : "")}
    ${aside(each.note)}
  `;
}

const aside = (text: string) => (text === "" ? nothing : html`<small>${text}</small>`);

function breaking(breaks: readonly Break[]): TemplateResult | typeof nothing {
  if (breaks.length === 0) return nothing;
  const whats = [...new Set(breaks.map((each) => each.what))];
  const shown = TOPOLOGIES.filter(
    (each) => each !== "mediasoup" || breaks.some(({ topology }) => topology === each),
  );
  const of = (what: string, topology: Topology) =>
    breaks.find((each) => each.what === what && each.topology === topology);
  return html`
    <table class="breaks">
      <caption>Where each would break <small>extrapolated, not measured</small></caption>
      <thead>
        <tr>
          <th scope="col">when</th>
          ${columns(shown)}
        </tr>
      </thead>
      <tbody>
        ${whats.map(
          (what) => html`
            <tr>
              <th scope="row">${what}</th>
              ${shown.map((each) => html`<td>${limit(of(what, each))}</td>`)}
            </tr>
          `,
        )}
      </tbody>
    </table>
  `;
}

function limit(each: Break | undefined): TemplateResult | string {
  if (each === undefined) return "too few sizes without a full machine to say";
  const where = each.people === null ? "not in sight" : `at ${people(each.people)}`;
  return html`<b>${where}</b> <small>${each.law}</small>`;
}

function method({ method, machine, versions, stacks }: Report): TemplateResult {
  return html`
    <section id="method">
      <h2>How it was measured</h2>
      ${method.map((each) => html`<p>${each}</p>`)}
      <h3>Machine and versions</h3>
      <dl>
        ${[...machine, ...versions].map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
      </dl>
      ${stacks.length === 0 ? nothing : html`<h3>Who carries the media</h3> ${carriers(stacks)}`}
    </section>
  `;
}

function carriers(stacks: readonly Stack[]): TemplateResult {
  return html`
    <ul class="stacks">
      ${stacks.map(
        (each) => html`
          <li>
            <b class=${each.topology}>${NAMES[each.topology]}</b>, ${each.side}: ${each.software};
            ${each.codec}, ${each.packet_ms} ms a packet; jitter buffer: ${each.jitter_buffer}
          </li>
        `,
      )}
    </ul>
  `;
}

function files({ files }: Report): TemplateResult {
  return html`
    <footer>
      <h2>The data</h2>
      <p>Everything above is made from these files, which are inside this page.</p>
      <p class="files">
        ${files.map(
          (file) => html`<button type="button" class="file" .file=${file}>Save ${file.name}</button>`,
        )}
      </p>
    </footer>
  `;
}

const people = (count: number): string => (count === 1 ? "1 person" : `${count} people`);
