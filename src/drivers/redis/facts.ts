// What an inventory says of the RDB as a whole, for who restores it or compares it.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { InventoryLine } from '../../core/model.ts';

const captureDetail = z.object({
  family: z.enum(['redis', 'valkey']),
  version: z.number(),
  used_bytes: z.number(),
  databases: z.number(),
  largest_bytes: z.number(),
  modules: z.array(z.string()),
});
export type RdbFacts = z.output<typeof captureDetail>;

export function rdbFacts(lines: readonly InventoryLine[]): RdbFacts {
  const line = lines.find(({ kind, name }) => kind === 'facts' && name === 'capture');
  const parsed = captureDetail.safeParse(line?.detail);
  if (parsed.success) return parsed.data;
  throw new Failure('malformed', 'the inventory does not say what the RDB is', { cause: parsed.error });
}

const timeDetail = z.object({ at: z.string(), frozen: z.boolean().optional() });

/** When an inventory was taken, in milliseconds, NaN when it does not say; and whether that server drops nothing. */
export function timeOf(line: InventoryLine): { takenAt: number; frozen: boolean } {
  const { at = '', frozen = false } = timeDetail.safeParse(line.detail).data ?? {};
  return { takenAt: Date.parse(at), frozen };
}

const logDetail = z.object({ replication_id: z.string(), position: z.string() });

/** Where the log of its server goes on behind it. */
export function logLine(replicationId: string, position: string): InventoryLine {
  const detail = { replication_id: replicationId, position };
  return { kind: 'facts', name: 'log', count: null, digest: null, detail };
}

export function logPosition(lines: readonly InventoryLine[]): string {
  const line = lines.find(({ kind, name }) => kind === 'facts' && name === 'log');
  const parsed = logDetail.safeParse(line?.detail);
  if (parsed.success) return parsed.data.position;
  throw new Failure('malformed', 'the inventory does not say where the log goes on', { cause: parsed.error });
}
