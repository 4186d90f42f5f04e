// manifest.json: the fields that the old plans write stay, ours are added. docs/format.md is its contract.

import { z } from 'zod';
import { Failure } from './errors.ts';
import type { Json } from './model.ts';
import type { CapturedComponent, RecoveryPoint } from './point.ts';

export const MANIFEST_PART = 'manifest.json';
/** However large the point is, its lists are parts of their own. */
export const MANIFEST_BYTES_MAX = 1024 * 1024;
const ID_PATTERN = /^\d{4}-\d{2}-\d{2}-\d{6}$/;

const instant = z.iso.datetime({ offset: true });
const componentSchema = z.object({
  kind: z.string(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  server_version: z.string().nullable(),
  identity: z.string().nullable(),
  method: z.string().nullable(),
  cut: z.object({ position: z.string(), at: instant }).nullable(),
  inventory: z.object({
    level: z.enum(['full', 'sample', 'counts']).nullable(),
    totals: z.record(z.string(), z.number()),
  }),
  parts: z.object({ count: z.number().int(), bytes: z.number().int() }),
  duration_ms: z.number(),
  warnings: z.array(z.string()),
  external: z.custom<Json>().default(null), // whatever JSON the driver wrote
  journal: z.object({ source: z.custom<Json>(), from: z.string(), to: z.string() }).nullable().default(null),
});
const manifestSchema = z.object({
  format: z.literal(1),
  id: z.string().regex(ID_PATTERN),
  stack: z.string(),
  plan: z.string().nullable(),
  timestamp: instant,
  started_at: instant,
  finished_at: instant,
  skew_ms: z.number(),
  status: z.enum(['complete', 'partial']),
  version: z.string().nullable(),
  missed: z.object({ count: z.number().int(), first: instant, last: instant }).nullable().default(null),
  components: z.record(z.string(), componentSchema),
});
export type ManifestJson = z.output<typeof manifestSchema>;
export type ComponentJson = z.output<typeof componentSchema>;

export function manifestJson(point: RecoveryPoint): ManifestJson {
  return {
    format: point.format,
    id: point.id,
    stack: point.stack,
    plan: point.plan,
    timestamp: timeOfId(point.id).toISOString().replace('.000Z', 'Z'),
    started_at: point.startedAt,
    finished_at: point.finishedAt,
    skew_ms: point.skewMs,
    status: point.status,
    version: point.version,
    missed: point.missed,
    components: Object.fromEntries(Object.entries(point.components).map(([name, each]) => [name, componentJson(each)])),
  };
}

/** How a component whose capture failed stands in the manifest. */
export function failedComponent(
  kind: string,
  error: { readonly code: string; readonly message: string },
  durationMs: number,
): CapturedComponent {
  return {
    kind,
    error,
    serverVersion: null,
    identity: null,
    method: null,
    cut: null,
    inventoryLevel: null,
    totals: {},
    parts: { count: 0, bytes: 0 },
    durationMs: Math.round(durationMs),
    warnings: [],
    external: null,
    journal: null,
  };
}

/** Parses what a store holds. 'malformed' names the point that it is of. */
export function parseManifest(text: string, where: string): RecoveryPoint {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Failure('malformed', `the manifest of ${where} is none`, { cause });
  }
  return pointFrom(json, where);
}

/** The same of JSON that is parsed already. */
export function pointFrom(value: unknown, where: string): RecoveryPoint {
  const { data: json, error: cause } = manifestSchema.safeParse(value);
  if (!json) throw new Failure('malformed', `the manifest of ${where} is none`, { cause });
  return {
    format: json.format,
    id: json.id,
    stack: json.stack,
    plan: json.plan,
    startedAt: json.started_at,
    finishedAt: json.finished_at,
    skewMs: json.skew_ms,
    status: json.status,
    version: json.version,
    missed: json.missed,
    components: Object.fromEntries(Object.entries(json.components).map(([name, each]) => [name, parseComponent(each)])),
  };
}

/** The id of a point that starts (or whose slot is) at `at`: '2026-11-21-020000', UTC. */
export function idOf(at: Date): string {
  const text = at.toISOString();
  return `${text.slice(0, 10)}-${text.slice(11, 19).replaceAll(':', '')}`;
}
export function isPointId(text: string): boolean {
  return ID_PATTERN.test(text);
}
export function timeOfId(id: string): Date {
  const [, day, h, m, s] = /^(\d{4}-\d{2}-\d{2})-(\d{2})(\d{2})(\d{2})$/.exec(id) ?? [];
  return new Date(`${day}T${h}:${m}:${s}Z`);
}

function componentJson(each: CapturedComponent): ComponentJson {
  return {
    kind: each.kind,
    error: each.error,
    server_version: each.serverVersion,
    identity: each.identity,
    method: each.method,
    cut: each.cut,
    inventory: { level: each.inventoryLevel, totals: each.totals },
    parts: each.parts,
    duration_ms: each.durationMs,
    warnings: [...each.warnings],
    external: each.external,
    journal: each.journal,
  };
}

function parseComponent(json: ComponentJson): CapturedComponent {
  return {
    kind: json.kind,
    error: json.error,
    serverVersion: json.server_version,
    identity: json.identity,
    method: json.method,
    cut: json.cut,
    inventoryLevel: json.inventory.level,
    totals: json.inventory.totals,
    parts: json.parts,
    durationMs: json.duration_ms,
    warnings: json.warnings,
    external: json.external,
    journal: json.journal,
  };
}
