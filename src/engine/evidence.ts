// What a drill leaves: a document for machines, checked by its schema when read, and the same for people.

import { z } from 'zod';
import { Failure } from '../core/errors.ts';
import type { Clock, Context, Finding, Json } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import type { Findings } from './findings.ts';

const verdict = z.enum(['pass', 'fail', 'unknown']);
const ms = z.number().nonnegative();
const phases = z.object({ provision: ms, fetch: ms, restore: ms, start: ms, verify: ms });
const findings = z.object({
  tally: z.object({ pass: z.number(), unknown: z.number(), fail: z.number() }),
  kept: z.array(z.object({ check: z.string(), verdict, detail: z.string(), hint: z.string().optional() })),
  omitted: z.number(),
});
const objective = z.object({
  rto_ms: ms.nullable(),
  rpo_ms: ms.nullable(),
  /** Null where nothing was promised, or nothing was measured. */
  rto_met: z.boolean().nullable(),
  rpo_met: z.boolean().nullable(),
});

const cut = z.object({ position: z.string(), at: z.string() });

const componentEvidence = z.object({
  name: z.string(),
  kind: z.string(),
  verdict,
  server_version: z.string().nullable(),
  method: z.string().nullable(),
  cut: cut.nullable(),
  /** Of which point it came; null where it came of none, and in evidence from before restores to a moment. */
  point: z.string().nullable().default(null),
  /** Up to where its log was replayed, by its own clock or in its driver's words; null where none was. */
  target: z
    .object({ kind: z.string(), at: z.string().optional(), value: z.string().optional() })
    .nullable()
    .default(null),
  /** The later point that what was replayed was compared with; null where none was. */
  against: z.string().nullable().default(null),
  clock: z.object({ ahead_ms: z.number(), error_ms: z.number() }).nullable().default(null),
  /** The last change that came with it; null where nobody told. */
  reached: cut.nullable().default(null),
  /** The newest marker that came back, and how long that was before the moment; null where it is not marked. */
  marker: z
    .object({ number: z.number(), at: z.string(), where: z.string(), lost_ms: z.number() })
    .nullable()
    .default(null),
  bytes: z.number(),
  /** From the beginning of the drill until this component was back and verified. */
  rto_ms: ms.nullable(),
  rpo_ms: z.number().nullable(),
  objective,
  phases,
  findings,
  warnings: z.array(z.string()),
});

export const evidenceSchema = z.object({
  format: z.literal(1),
  drill: z.string(),
  scenario: z.string().nullable(),
  stack: z.string(),
  /** The newest of those that something came of. */
  point: z.string(),
  /** What was asked for instead of a point, by our clock. */
  moment: z.string().nullable().default(null),
  store: z.string(),
  sandboxes: z.string(),
  started_at: z.string(),
  finished_at: z.string(),
  verdict,
  /** Null when nothing came back. */
  rto_ms: ms.nullable(),
  /** The drill's time minus the first cut: what a disaster at that moment would have lost. */
  rpo_ms: z.number(),
  /** Null when no objective was declared or one could not be measured; false when one was missed. */
  objectives_met: z.boolean().nullable(),
  /** Whether the recovery kit would still open the store; null where it needs none. */
  kit: z.object({ verdict, detail: z.string(), hint: z.string().optional() }).nullable().default(null),
  /** The components that the others waited for, one after the other. */
  critical_path: z.array(z.string()).default([]),
  /** Of those, so that they add up to the RTO. */
  phases: phases.extend({ choose: ms }),
  components: z.array(componentEvidence),
  /** Whether the components fit together. */
  references: findings.default({ tally: { pass: 0, unknown: 0, fail: 0 }, kept: [], omitted: 0 }),
});
export type Evidence = z.output<typeof evidenceSchema>;
export type ComponentEvidence = Evidence['components'][number];

export async function putEvidence(ctx: Context, store: Store, evidence: Evidence): Promise<void> {
  const json: Json = JSON.parse(JSON.stringify(evidence));
  await store.records.put(ctx, 'evidence', evidence.drill, json);
}

export async function readEvidence(ctx: Context, store: Store, drill: string): Promise<Evidence> {
  const parsed = evidenceSchema.safeParse(await store.records.get(ctx, 'evidence', drill));
  if (parsed.success) return parsed.data;
  throw new Failure('malformed', `the evidence of drill ${drill} in ${store.url} is none`, { cause: parsed.error });
}

/** Ids of the drills that left evidence, newest first. */
export async function drillIds(ctx: Context, store: Store): Promise<readonly string[]> {
  const ids = await Array.fromAsync(store.records.list(ctx, 'evidence'));
  return ids.toSorted().toReversed();
}

export function clockJson(clock: Clock | null): ComponentEvidence['clock'] {
  return clock && { ahead_ms: clock.aheadMs, error_ms: clock.errorMs };
}
export function findingsJson({ tally, kept, omitted }: Findings): ComponentEvidence['findings'] {
  return { tally, kept: kept.map((each) => ({ ...each })), omitted };
}

/** The same as Markdown. */
export function evidenceMarkdown(evidence: Evidence): string {
  const { phases: spent } = evidence;
  const lines = [
    `# Drill ${evidence.drill}: ${evidence.verdict}`,
    '',
    `${cell(pointText(evidence))} of stack ${cell(evidence.stack)}, restored from store ${cell(evidence.store)}` +
      ` into sandboxes (${cell(evidence.sandboxes)}).`,
    `Started ${evidence.started_at}, finished ${evidence.finished_at}.`,
    '',
    `- Recovered in: ${evidence.rto_ms === null ? 'not recovered' : span(evidence.rto_ms)}`,
    ...waitedFor(evidence),
    `- Would have lost: ${span(evidence.rpo_ms)}`,
    `- Objectives: ${objectivesText(evidence.objectives_met)}`,
    ...(evidence.kit
      ? [`- Recovery kit: ${evidence.kit.verdict}: ${findingText({ ...evidence.kit, check: 'it opens the store' })}`]
      : []),
    '',
    '| phase | time |',
    '|---|---|',
    ...Object.entries(spent).map(([name, took]) => `| ${name} | ${span(took)} |`),
    '',
    '| component | verdict | recovered in | would have lost | bytes | pass | unknown | fail |',
    '|---|---|---|---|---|---|---|---|',
    ...evidence.components.map(componentRow),
  ];
  lines.push(...originLines(evidence), ...markerLines(evidence));
  for (const component of evidence.components) lines.push(...findingLines(component));
  lines.push(...referenceLines(evidence.references));
  return `${lines.join('\n')}\n`;
}

function pointText({ point, moment }: Evidence): string {
  return moment === null ? `Point ${point}` : `Points and their logs up to ${moment}`;
}

/** Of a moment each component has its own. */
function originLines({ moment, components }: Evidence): string[] {
  if (moment === null) return [];
  const rows = components.map(({ name, point, target, against, clock, reached }) => {
    const error = target?.at !== undefined && clock ? ` ± ${clock.error_ms} ms` : '';
    const until = target ? `${target.at ?? target.value ?? target.kind}${error}, by its own clock` : 'its cut';
    const to = against === null ? until : `point ${against}, compared with that`;
    return `| ${[name, point ?? '–', to, reached?.at ?? '–'].map(cell).join(' | ')} |`;
  });
  return ['', '| component | point | up to | last change |', '|---|---|---|---|', ...rows];
}

/** Measured from the data: nothing to tell where no markers are written. */
function markerLines({ components }: Evidence): string[] {
  const rows = components.flatMap(({ name, marker }) =>
    marker ? [`| ${cell(name)} | ${marker.number} of ${cell(marker.at)} | ${span(marker.lost_ms)} |`] : [],
  );
  return rows.length === 0 ? [] : ['', '| component | newest marker that came back | lost |', '|---|---|---|', ...rows];
}

/** The most that a component has lost by its markers; null without any. */
export function lostMs({ components }: Evidence): number | null {
  const lost = components.flatMap(({ marker }) => (marker ? [marker.lost_ms] : []));
  return lost.length === 0 ? null : Math.max(...lost);
}

/** Where time is to be won: nothing to tell of a single component. */
function waitedFor({ critical_path: path, components }: Evidence): string[] {
  return path.length === 0 || components.length < 2 ? [] : [`- Critical path: ${path.map(cell).join(', then ')}`];
}

/** 90061000 is '1d 1h 1m 1s'. */
function span(durationMs: number): string {
  if (durationMs < 0) return `-${span(-durationMs)}`;
  if (durationMs < 10_000) return `${(durationMs / 1000).toFixed(durationMs < 1000 ? 3 : 1)}s`;
  let left = Math.round(durationMs / 1000);
  const words: string[] = [];
  for (const [unit, seconds] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
  ] as const) {
    if (left >= seconds) words.push(`${Math.floor(left / seconds)}${unit}`);
    left %= seconds;
  }
  if (left > 0 || words.length === 0) words.push(`${left}s`);
  return words.join(' ');
}

function objectivesText(met: boolean | null): string {
  return met === null ? 'not judged' : met ? 'met' : 'missed';
}

function componentRow(each: ComponentEvidence): string {
  const { tally } = each.findings;
  const cells = [
    cell(each.name),
    each.verdict,
    `${each.rto_ms === null ? '–' : span(each.rto_ms)}${promised(each.objective.rto_ms, each.objective.rto_met)}`,
    `${each.rpo_ms === null ? '–' : span(each.rpo_ms)}${promised(each.objective.rpo_ms, each.objective.rpo_met)}`,
    String(each.bytes),
    String(tally.pass),
    String(tally.unknown),
    String(tally.fail),
  ];
  return `| ${cells.join(' | ')} |`;
}

function promised(limitMs: number | null, met: boolean | null): string {
  return limitMs === null ? '' : ` (promised ${span(limitMs)}: ${objectivesText(met)})`;
}

function findingLines({ name, findings: { kept, omitted }, warnings }: ComponentEvidence): string[] {
  const notable = kept.filter((each) => each.verdict !== 'pass');
  if (notable.length + warnings.length === 0) return [];
  return [
    '',
    `## ${cell(name)}`,
    '',
    ...notable.map((each) => `- ${each.verdict}: ${findingText(each)}`),
    ...(omitted > 0 ? [`- … and ${omitted} further findings`] : []),
    ...warnings.map((each) => `- warning: ${cell(each)}`),
  ];
}

/** All of them: that stores fit together is what nobody else shows. */
function referenceLines({ kept }: Evidence['references']): string[] {
  if (kept.length === 0) return [];
  return ['', '## References', '', ...kept.map((each) => `- ${each.verdict}: ${findingText(each)}`)];
}

function findingText({ check, detail, hint }: Finding | ComponentEvidence['findings']['kept'][number]): string {
  return `${cell(check)}: ${cell(detail)}${hint ? ` (${cell(hint)})` : ''}`;
}

/** Names and messages come from servers: they may not break out of their place. */
function cell(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
