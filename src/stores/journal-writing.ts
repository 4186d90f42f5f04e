// Writes the journal of a component: one range after another, each durable and chained to the one before.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { releaseLarge } from '../core/bytes.ts';
import { outliving } from '../core/context.ts';
import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { JournalRange, JournalWriter, Lineage } from '../core/journal.ts';
import type { Context } from '../core/model.ts';
import { gate } from '../core/parallel.ts';
import { acquireLease, type Lease } from './journal-lease.ts';
import { floorOf, isDamage, type Known, loadLineage, type Mark, putBegin, putTip } from './journal-lineages.ts';
import {
  assertPositions,
  type Entry,
  isPosition,
  type JournalVault,
  leaseFolder,
  lineageFolder,
  lineageIds,
  nextLineageId,
} from './journal-names.ts';
import { type Content, openRange, type Sealed, sealRange, type Whose } from './journal-ranges.ts';
import { folderNames, type Step, stepsOf } from './journal-walk.ts';

/** A listing of one folder is held in memory, and is what finding a place costs. */
const FOLDER_RANGES_MAX = 4096;
const CLEANUP_MS_MAX = 30_000;
const NO_BYTES = new Uint8Array(0);

/** The lineage that is gone on with. */
interface Line {
  readonly lineage: Lineage;
  readonly whose: Whose;
  /** What was stored last. */
  end: Mark;
  /** The range or gap that reaches it; null where none is left. */
  last: Entry | null;
  /** Where the next range goes, and how many are there; null: into a new one. */
  folder: string | null;
  ranges: number;
  /** Up to where `tip.json` says that it reaches. */
  noted: string;
}

export async function openWriter(ctx: Context, vault: JournalVault, component: string): Promise<JournalWriter> {
  await using undo = new AsyncDisposableStack();
  const lease = undo.use(await acquireLease(ctx, vault, leaseFolder(vault, 'journal', component)));
  const line = await newestLine(ctx, vault, component);
  undo.move();
  return writerOf(ctx, vault, component, lease, line);
}

function writerOf(
  ctx: Context,
  vault: JournalVault,
  component: string,
  lease: Lease,
  newest: Line | null,
): JournalWriter {
  const turns = gate(1);
  let line = newest;
  /** Nobody knows whether it was stored: until it is, nothing else may be. */
  let pending: Sealed | null = null;

  /** Looks who holds the lease before anything is written. */
  async function settle(within: Context): Promise<void> {
    if (await lease.touch(within)) await noteTip(within);
    if (!line || !pending) return;
    const { entry, stored, to } = pending;
    await vault.bucket.put(within, entry.key, stored, { sha256: entry.sha256 });
    await lease.assertHeld(within);
    line.end = { to, sha256: entry.sha256 };
    line.last = entry;
    line.ranges += 1;
    pending = null;
    releaseLarge(stored);
  }
  async function noteTip(within: Context): Promise<void> {
    if (!line || line.end.to.position === line.noted) return;
    await putTip(within, vault, line.whose, line.end);
    line.noted = line.end.to.position;
  }
  async function add(within: Context, content: Content): Promise<void> {
    assert(line, 'a lineage is begun before anything is put into it');
    const [from, to, end] = [content.from.position, content.to.position, line.end.to.position];
    assertPositions(end.length, from, to);
    assert(from < to, 'a range goes forward');
    await settle(within);
    if (from !== line.end.to.position) return await assertSame(within, vault, line, content);
    if (line.folder === null || line.ranges >= FOLDER_RANGES_MAX) {
      line.folder = `${lineageFolder(vault, component, line.lineage.id)}${from}/`;
      line.ranges = 0;
    }
    pending = sealRange(vault, line.whose, line.folder, content, line.end.sha256);
    await settle(within);
  }
  async function lastRange(within: Context): Promise<JournalRange | null> {
    if (!line?.last || line.last.isGap) return null;
    try {
      const { gap: _, ...range } = await openRange(within, vault, line.whose, line.last, null);
      return range;
    } catch (error) {
      if (isFailure(error, 'missing')) return null; // it was pruned meanwhile
      throw error;
    }
  }
  async function begin(within: Context, start: Parameters<JournalWriter['begin']>[1]): Promise<Lineage> {
    assert(isPosition(start.from.position), `${start.from.position} is a position`);
    await settle(within);
    await noteTip(within);
    const id = nextLineageId((await lineageIds(within, vault, component)).at(-1));
    const lineage: Lineage = { ...start, id, begunAt: start.begunAt ?? within.now().toISOString() };
    const chain = randomBytes(32).toString('hex');
    await putBegin(within, vault, component, lineage, chain);
    line = freshLine({ component, lineage: id }, lineage, { to: start.from, sha256: chain });
    return lineage;
  }

  return {
    lineage: () => line?.lineage ?? null,
    durable: () => line?.end.to ?? null,
    last: (within) => turns.run(() => lastRange(within)),
    begin: (within, start) => turns.run(() => begin(within, start)),
    append: (within, range) => turns.run(() => add(within, { ...range, gap: null })),
    gap: (within, { reason, ...gap }) => turns.run(() => add(within, { ...gap, gap: reason, body: NO_BYTES })),
    async [Symbol.asyncDispose]() {
      const last = outliving(ctx, CLEANUP_MS_MAX);
      await turns.run(async () => {
        try {
          await lease.touch(last);
          await noteTip(last);
        } catch (error) {
          // All that was acknowledged is stored: only a check would find less if the end went now.
          ctx.log.warn('how far a journal reaches was not noted', { component, error: messageOf(error) });
        }
      });
      await lease[Symbol.asyncDispose]();
    },
  };
}

function freshLine(whose: Whose, lineage: Lineage, end: Mark): Line {
  return { lineage, whose, end, last: null, folder: null, ranges: 0, noted: end.to.position };
}

/** Null when there is none, and when the newest can't be gone on with, which is logged. */
async function newestLine(ctx: Context, vault: JournalVault, component: string): Promise<Line | null> {
  const lineage = (await lineageIds(ctx, vault, component)).at(-1);
  if (lineage === undefined) return null;
  const whose = { component, lineage };
  try {
    const known = await loadLineage(ctx, vault, whose);
    return known && (await lineOf(ctx, vault, whose, known));
  } catch (error) {
    if (!isDamage(error) && !isFailure(error, 'different')) throw error;
    ctx.log.warn('the end of a journal is damaged: it goes on with a new lineage', { ...whose, reason: error.message });
    return null;
  }
}

/** Throws what is broken in the last folder: nothing may be chained to that. */
async function lineOf(ctx: Context, vault: JournalVault, whose: Whose, known: Known): Promise<Line> {
  const [problem] = known.problems;
  if (problem) throw problem;
  const folders = await folderNames(ctx, vault, whose, known.lineage.from.position.length);
  const line = freshLine(whose, known.lineage, floorOf(known));
  if (known.tip) line.noted = known.tip.to.position;
  let last: Extract<Step, { entry: Entry }> | null = null;
  for await (const step of stepsOf(ctx, vault, whose, known, folders.at(-1))) {
    if (!step.entry) throw step.failure;
    line.ranges = step.entry.folder === line.folder ? line.ranges + 1 : 1;
    line.folder = step.entry.folder;
    last = step;
  }
  if (!last) return line;
  const { to } = await openRange(ctx, vault, whose, last.entry, last.previous);
  line.end = { to, sha256: last.entry.sha256 };
  line.last = last.entry;
  return line;
}

/** 'different' unless exactly this is stored. */
async function assertSame(ctx: Context, vault: JournalVault, { whose, end }: Line, content: Content): Promise<void> {
  const { from, to, gap, body } = content;
  assert(from.position < end.to.position, `what is missing from ${end.to.position} on is noted as a gap first`);
  const known = await loadLineage(ctx, vault, whose);
  const steps = known ? stepsOf(ctx, vault, whose, known, from.position) : [];
  for await (const { entry } of steps) {
    if (entry?.from !== from.position || entry.to !== to.position) continue;
    const stored = await openRange(ctx, vault, whose, entry, null);
    if ((stored.gap === null) === (gap === null) && Buffer.compare(stored.body, body) === 0) return;
    break;
  }
  const what = `${from.position} to ${to.position} of ${whose.component}, lineage ${whose.lineage}`;
  throw new Failure('different', `${vault.bucket.url}: ${what}, is stored with other bytes or borders`, {
    hint: 'two servers write the same log: find out which is the right one before anything goes on',
  });
}
