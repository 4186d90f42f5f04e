// One piece of work on our restic store, in a process of its own so that it can be measured:
// create REPO · stream REPO ID FILE · keep REPO ID FROM · files REPO ID DIR [FROM] · read REPO ID FILE ·
// unpack REPO ID DIR · check REPO

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { localBucket } from '../src/buckets/local/bucket.ts';
import type { Bytes, Receipt, RecoveryPoint, Sink } from '../src/core/model.ts';
import type { Store } from '../src/core/storage.ts';
import { filesDriver } from '../src/drivers/files/driver.ts';
import { resticFormat } from '../src/stores/restic/store.ts';
import { ctx } from './context.ts';

const PART = 'dump.sql';
const COMPONENT = 'data';
const SETTINGS = { stack: 'bench', password: 'bench' };
const READ_BYTES = 256 * 1024;

const [verb = '', repo = '', id = '', ...rest] = process.argv.slice(2);
const [path = '', from = ''] = rest;
const bucket = localBucket(repo);
if (verb === 'create') await resticFormat.create(ctx, bucket, SETTINGS);
else {
  await using store = await resticFormat.open(ctx, bucket, SETTINGS);
  await work(store);
}

async function work(store: Store): Promise<void> {
  switch (verb) {
    case 'stream':
      return await capture(store, async (sink) => {
        await sink.put(ctx, PART, contentOf(path));
      });
    case 'keep': {
      const source = await store.open(ctx, path, COMPONENT);
      return await capture(store, async (sink) => {
        await sink.keep(ctx, PART, await source.part(ctx, PART));
      });
    }
    case 'files': {
      const previous = from === '' ? undefined : await store.open(ctx, from, COMPONENT);
      return await capture(store, async (sink) => {
        await filesDriver.open({ root: path, paths: ['/'] }).capture(ctx, sink, previous);
      });
    }
    case 'read':
      return await read(store);
    case 'unpack': {
      const base = await store.open(ctx, id, COMPONENT);
      await filesDriver.open({ root: join(path), paths: ['/'] }).restore(ctx, { base });
      return;
    }
    case 'check':
      for await (const finding of store.check(ctx, { readData: 1 })) throw new Error(finding.detail);
      return;
    default:
      throw new Error(`there is no work called ${verb}`);
  }
}

async function capture(store: Store, fill: (sink: Sink) => Promise<void>): Promise<void> {
  const components = [{ name: COMPONENT, kind: 'files' }];
  await using draft = await store.begin(ctx, id, { stack: SETTINGS.stack, components });
  const sink = draft.sink(COMPONENT);
  await fill(sink);
  const receipt = await sink.receipt(ctx);
  await store.commit(ctx, draft, pointOf(receipt), [receipt]);
}

/** One buffer for all of it: chunks are borrowed. */
async function* contentOf(file: string): Bytes {
  await using source = await open(file);
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  for (;;) {
    const { bytesRead } = await source.read(buffer);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

async function read(store: Store): Promise<void> {
  const source = await store.open(ctx, id, COMPONENT);
  await using file = await open(path, 'w');
  for await (const chunk of source.get(ctx, PART)) await file.write(chunk);
}

function pointOf({ parts, bytes }: Receipt): RecoveryPoint {
  const now = ctx.now().toISOString();
  const captured = {
    kind: 'files',
    error: null,
    serverVersion: null,
    identity: null,
    method: null,
    cut: null,
    inventoryLevel: null,
    totals: {},
    parts: { count: parts, bytes },
    durationMs: 0,
    warnings: [],
  };
  const times = { startedAt: now, finishedAt: now, skewMs: 0 };
  const components = { [COMPONENT]: captured };
  return { format: 1, id, stack: SETTINGS.stack, plan: null, ...times, status: 'complete', version: null, components };
}
