// Proofs: which points of a store were restored and found equal. A proof belongs to (store, point), because the bytes
// that were read lie in that store.

import { z } from 'zod';
import { Failure, isFailure } from '../core/errors.ts';
import { idOf } from '../core/manifest.ts';
import type { Context } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { RecordKind, Store } from '../core/storage.ts';
import { heldBy } from './model.ts';

const READS_MAX = 16;
const IDS_TRIED_MAX = 600;

const proofSchema = z.object({
  format: z.literal(1),
  point: z.string(),
  /** A copy of a proved point is no proof: its bytes were not restored from here. */
  how: z.enum(['drill', 'restore', 'copy']),
  at: z.string(),
  /** The components that came back equal. */
  components: z.array(z.string()),
  /** The drill's evidence, or the store that was copied from. */
  source: z.string().nullable(),
});
export type Proof = z.output<typeof proofSchema>;

export async function putProof(ctx: Context, store: Store, proof: Omit<Proof, 'format' | 'at'>): Promise<void> {
  const at = ctx.now();
  const id = await freeRecordId(ctx, store, 'proofs', at, (stamp) => `${proof.point}/${proof.how}-${stamp}`);
  await store.records.put(ctx, 'proofs', id, { format: 1, at: at.toISOString(), ...proof });
}

export interface Proofs {
  /** Oldest first. */
  readonly read: readonly Proof[];
  /** There are others that can't be read: they prove nothing, and let nothing be removed. */
  readonly unreadable: boolean;
}
export const NO_PROOFS: Proofs = { read: [], unreadable: false };

/** All proofs of a store by point, or those of one point. */
export async function proofsOf(ctx: Context, store: Store, point?: string): Promise<ReadonlyMap<string, Proofs>> {
  const ids = store.records.list(ctx, 'proofs', point === undefined ? '' : `${point}/`);
  const byPoint = new Map<string, { read: Proof[]; unreadable: boolean }>();
  await mapBounded(ids, READS_MAX, async (id) => {
    const of = id.split('/')[0] ?? id;
    const proof = await readProof(ctx, store, id);
    if (proof === 'gone') return;
    const known = byPoint.get(of) ?? { read: [], unreadable: false };
    byPoint.set(of, known);
    if (proof === 'unreadable') known.unreadable = true;
    else known.read.push(proof);
  });
  for (const { read } of byPoint.values()) read.sort((a, b) => (a.at < b.at ? -1 : 1));
  return byPoint;
}

/** When all that the point holds was last proved, by one drill or several together; null when some of it never was. */
export function provedAt(point: RecoveryPoint, proofs: readonly Proof[]): string | null {
  const held = heldBy(point);
  let oldest: string | null = null;
  for (const name of held) {
    const last = proofs.findLast(({ how, components }) => how !== 'copy' && components.includes(name));
    if (!last) return null;
    if (oldest === null || last.at < oldest) oldest = last.at;
  }
  return oldest;
}

export function isCopyOfProved(proofs: readonly Proof[]): boolean {
  return proofs.some(({ how }) => how === 'copy');
}

/** The first id, counting seconds from `at`, under which nothing is kept yet. */
export async function freeRecordId(
  ctx: Context,
  store: Store,
  kind: RecordKind,
  at: Date,
  name: (stamp: string) => string,
): Promise<string> {
  for (let tried = 0; tried < IDS_TRIED_MAX; tried++) {
    const id = name(idOf(new Date(at.getTime() + tried * 1000)));
    try {
      await store.records.get(ctx, kind, id);
    } catch (error) {
      if (isFailure(error, 'missing')) return id;
      throw error;
    }
  }
  throw new Failure('exists', `no free name for a record of ${kind} at ${idOf(at)}`);
}

async function readProof(ctx: Context, store: Store, id: string): Promise<Proof | 'gone' | 'unreadable'> {
  let reason: unknown;
  try {
    const parsed = proofSchema.safeParse(await store.records.get(ctx, 'proofs', id));
    if (parsed.success && id.startsWith(`${parsed.data.point}/`)) return parsed.data;
    reason = 'it has another shape';
  } catch (error) {
    if (isFailure(error, 'missing')) return 'gone'; // removed since it was listed
    if (!isFailure(error, 'checksum') && !isFailure(error, 'malformed')) throw error;
    reason = error.message;
  }
  ctx.log.warn('proof can not be read', { store: store.url, proof: id, reason });
  return 'unreadable';
}
