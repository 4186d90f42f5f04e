// What of its log a server still has, and where following goes on in it.

import { Failure } from '../../core/errors.ts';
import type { Feed } from '../../core/journal.ts';
import type { Context } from '../../core/model.ts';
import { positionOf, replicationIdOf } from './position.ts';
import type { LogPlace } from './replica.ts';
import type { ServerFacts } from './server.ts';

/** What is gone on with; null: a full copy is needed. */
export interface Resumption {
  readonly from: LogPlace;
  /** The point of another capture that a new lineage begins at; null: the lineage goes on. */
  readonly base: string | null;
  /** Some point can be brought forward by it. */
  readonly based: boolean;
}

export async function resumption(ctx: Context, feed: Feed, server: ServerFacts): Promise<Resumption | null> {
  const [lineage, durable] = [feed.lineage(), feed.durable()];
  if (lineage && durable) {
    const from = { replicationId: replicationIdOf(lineage.source), offset: durable.position };
    if (serves(server, from)) return { from, base: null, based: await feed.leads(ctx) };
  }
  const bases = (await feed.bases(ctx)).flatMap(({ point, source, from, to }) =>
    from === to ? [{ point, replicationId: replicationIdOf(source), offset: from }] : [],
  );
  const newest = bases.filter((each) => each.replicationId === server.replicationId && serves(server, each)).at(-1);
  return newest ? { from: newest, base: newest.point, based: true } : null;
}

/** Would it go on from there? It is asked only when it would: to be asked for what is gone costs it a full copy. */
function serves({ info }: ServerFacts, { replicationId, offset }: LogPlace): boolean {
  const number = (name: string): bigint => BigInt(/^-?\d+$/.exec(info.get(name) ?? '')?.[0] ?? -1);
  const next = BigInt(offset) + 1n;
  const isOwn = replicationId === info.get('master_replid');
  const isBefore = replicationId === info.get('master_replid2') && next <= number('second_repl_offset');
  const first = number('repl_backlog_first_byte_offset');
  const isHeld = info.get('repl_backlog_active') === '1' && first <= next;
  return (isOwn || isBefore) && isHeld && next <= first + number('repl_backlog_histlen');
}

/** Of the same history: what was lost is known. Of another one nobody knows how far the old one went. */
export async function noteGap(ctx: Context, feed: Feed, to: LogPlace, at: number): Promise<void> {
  const [lineage, durable] = [feed.lineage(), feed.durable()];
  if (!lineage || !durable || replicationIdOf(lineage.source) !== to.replicationId) return;
  const position = positionOf(BigInt(to.offset));
  if (position <= durable.position) return;
  await feed.gap(ctx, {
    from: durable,
    to: { position, at: new Date(at).toISOString() },
    at: ctx.now().toISOString(),
    reason: 'the server no longer had it: its repl-backlog-size was too small for how long nobody followed',
  });
}

const COPIES_MAX = 3;
const FOLLOWED_MS = 600_000;
const REST_MS = FOLLOWED_MS;

/** Each full copy is a fork of the server: one that can't be followed up is not asked for again and again. */
export interface CopyBudget {
  /** Before a copy is asked for. Throws when too many came to nothing. */
  take(ctx: Context, where: string, server: ServerFacts): void;
  /** It has been followed for so long. */
  followed(ms: number): void;
}
export function copyBudget(): CopyBudget {
  let taken = 0;
  let lastAtMs = 0;
  return {
    take(ctx, where, { info }) {
      const now = ctx.monotonicMs();
      if (taken >= COPIES_MAX && now - lastAtMs < REST_MS) {
        const backlog = `its repl-backlog-size is ${info.get('repl_backlog_size') ?? 'unknown'} bytes`;
        throw new Failure('blocked', `${where}: ${COPIES_MAX} full copies did not lead to a log that goes on`, {
          hint: `${backlog}: enlarge it, and client-output-buffer-limit replica; the next copy is asked for ten minutes after the last`,
        });
      }
      taken += 1;
      lastAtMs = now;
    },
    followed(ms) {
      if (ms >= FOLLOWED_MS) taken = 0;
    },
  };
}
