// Where something lies in the log of a server, as journals and points say it.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Json } from '../../core/model.ts';

/** An offset is a signed number of 64 bits: all positions have the length of the largest. */
const POSITION_DIGITS = 19;

const source = z.object({ replication_id: z.string() });

/** The offset of the last byte before it. */
export function positionOf(offset: bigint): string {
  return offset.toString().padStart(POSITION_DIGITS, '0');
}

/** Servers that have one id have the same log, as far as both go. */
export function sourceOf(replicationId: string): Json {
  return { replication_id: replicationId };
}

export function replicationIdOf(json: Json): string {
  const parsed = source.safeParse(json);
  if (parsed.success) return parsed.data.replication_id;
  throw new Failure('malformed', 'a journal does not say which log of Redis it holds', { cause: parsed.error });
}
