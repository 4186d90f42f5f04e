// What a server is told when its log can not be handed over, without a server.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Replay } from '../../../core/component.ts';
import type { Context } from '../../../core/model.ts';
import { liveContext, type TestContext } from '../../../core/testing.ts';
import { close, openRoot } from '../../beneath.ts';
import { type HandOver, handOver } from './hand-over.ts';
import { FAILED, SPOOL } from './names.ts';

const SEGMENT_BYTES = 2 ** 24;
const AIM = {
  setting: { name: 'recovery_target', value: '' },
  timeline: 1,
  upTo: null,
  endsAt: null,
  reached: null,
  notes: [],
};

interface Going {
  readonly ctx: TestContext;
  readonly spool: string;
  readonly handing: HandOver;
}

/** With a log that never comes. */
async function whileHanding(work: (going: Going) => Promise<void>): Promise<void> {
  const ctx = liveContext();
  const dir = mkdtempSync(join(ctx.scratch, 'hand-over-'));
  const spool = join(dir, SPOOL);
  mkdirSync(spool, { recursive: true });
  const root = openRoot(dir);
  async function* ranges(within: Context): ReturnType<Replay['ranges']> {
    await within.sleep(3_600_000);
    yield assert.fail('it was to be stopped');
  }
  const end = { position: '0000000002000000', at: ctx.now().toISOString() };
  const replay: Replay = { target: { kind: 'latest' }, end, ranges, lineages: [] };
  const base = { from: SEGMENT_BYTES, to: SEGMENT_BYTES, segmentBytes: SEGMENT_BYTES };
  try {
    const handing = handOver(ctx, { replay, aim: AIM, base, root, owner: null, task: 'main-db' });
    await work({ ctx, spool, handing });
    await handing.stop();
  } finally {
    close(root);
    rmSync(dir, { recursive: true, force: true });
  }
}

test('why nothing can be handed over any more is told to the server, and logged', async () => {
  await whileHanding(async ({ ctx, spool }) => {
    mkdirSync(join(spool, 'beat.new', 'in-the-way'), { recursive: true });
    while (!existsSync(join(spool, FAILED))) await ctx.sleep(20);
    assert.match(readFileSync(join(spool, FAILED), 'utf8'), /beat\.new/);
    assert.deepEqual(
      ctx.logged.map(({ message }) => message),
      ['the log is not handed over'],
    );
  });
});

test('a server that has recovered takes the folder away, which is no failure', async () => {
  await whileHanding(async ({ ctx, spool, handing }) => {
    rmSync(spool, { recursive: true });
    await handing.stop();
    assert.deepEqual(ctx.logged, []);
  });
});
