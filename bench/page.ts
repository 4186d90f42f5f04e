// The table as bench/README.md shows it.

import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Row } from './measure.ts';

/** What every backup and restore is promised to stay below. */
const PEAK_MIB_MAX = 512;

/** Where a group's section stands, between its two marks. Throws when there is no such place. */
export function placeOf(page: string, name: string, by = 'npm run bench'): { from: number; to: number } {
  const [begin, end] = [`<!-- ${name}: written by ${by} -->`, `<!-- ${name}: end -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`the page has no place for ${name}: ${begin} … ${end}`);
  return { from: from + begin.length, to };
}

export function withSection(page: string, name: string, section: string, by?: string): string {
  const { from, to } = placeOf(page, name, by);
  return `${page.slice(0, from)}\n${section}\n${page.slice(to)}`;
}

export function machineText(rounds: number, versions: readonly string[]): string {
  const processor = `${availableParallelism()} × ${cpus()[0]?.model.trim() ?? 'unknown'}`;
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${[processor, memory, `rounds: ${rounds}`, `Node ${process.version}`, ...versions].join('; ')}.`;
}

const TITLES = [
  'work',
  'peer',
  "ours: wall, CPU, others' CPU",
  'theirs: the same',
  'wall',
  'CPU',
  'stored',
  'must reach',
  'met',
  'our peak memory',
];

export function sectionText(rows: readonly Row[], machine: string): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [machine, '', line(TITLES), line(TITLES.map(() => '---')), ...rows.map((row) => line(cellsOf(row)))].join(
    '\n',
  );
}

function cellsOf(row: Row): readonly string[] {
  const { work, peer, ours, theirs, ratios } = row;
  const times = (each: Row['theirs']): string =>
    each ? [each.wallS, each.cpuS, each.othersCpuS].map(seconds).join(', ') : '';
  const ratio = (value: number | undefined): string => value?.toFixed(2) ?? '';
  return [
    work,
    peer === null ? '' : `\`${peer.replaceAll('|', '\\|')}\``,
    times(ours),
    times(theirs),
    ratio(ratios.wall),
    ratio(ratios.cpu),
    ratio(ratios.stored),
    mustText(row),
    met(row) ? 'yes' : '**no**',
    `${ours.peakMiB.toFixed(0)} MiB`,
  ];
}

function mustText({ limits }: Row): string {
  const { wall, cpu, stored, wallS } = limits;
  const each = [
    wallS === undefined ? '' : `${wallS} s`,
    wall === undefined ? '' : `wall ${wall}`,
    cpu === undefined ? '' : `CPU ${cpu}`,
    stored === undefined ? '' : `stored ${stored}`,
    `${PEAK_MIB_MAX} MiB`,
  ];
  return each.filter((text) => text !== '').join(', ');
}

/** A figure that is not there is not met. */
function met({ ours, ratios, limits }: Row): boolean {
  const names = ['wall', 'cpu', 'stored'] as const;
  const within = names.every((name) => limits[name] === undefined || (ratios[name] ?? Number.NaN) <= limits[name]);
  return within && ours.peakMiB < PEAK_MIB_MAX && (limits.wallS === undefined || ours.wallS <= limits.wallS);
}

function seconds(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}
