import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { bytesOf } from '../../core/bytes.ts';
import { getAll } from '../../core/many-parts.ts';
import type { Context, Source } from '../../core/model.ts';
import type { TestContext } from '../../core/testing.ts';
import { filesDriver } from './driver.ts';
import { captured, freshDir, verdicts } from './testing.ts';

const LARGE = Buffer.alloc(1024 * 1024 + 1, 'large ');

/** Small files, and large ones of the names given. */
async function pointOf(small: number, large: readonly string[] = []): Promise<{ ctx: TestContext; source: Source }> {
  const root = freshDir();
  for (let i = 0; i < small; i++) writeFileSync(join(root, nameOf(i)), `content ${i}`);
  for (const name of large) writeFileSync(join(root, name), LARGE);
  return await captured(root);
}

function nameOf(i: number): string {
  return `f${String(i).padStart(4, '0')}`;
}

/** Each look at the clock takes long: so does everything that is timed. */
function slowly(ctx: TestContext): Context {
  let ms = 0;
  return { ...ctx, monotonicMs: () => (ms += 100) };
}

function restored(ctx: Context, base: Source, target: string): Promise<unknown> {
  return filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base });
}

test('of two large files that are damaged the first is told, soon, and nothing is written after that', async (t) => {
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  const { ctx, source } = await pointOf(1000, ['e', 'f0002-large']);
  const target = freshDir();
  let isAsked = false;
  const damaged: Source = {
    ...source,
    async *get(c, name, range) {
      if (name === 'data/e') isAsked = true;
      // The second fails once the first was removed.
      if (name === 'data/f0002-large') while (!isAsked || existsSync(join(target, 'e'))) await turn();
      if (name === 'data/f0002-large' || name === 'data/e') yield* bytesOf('other bytes');
      else yield* source.get(c, name, range);
    },
  };
  await assert.rejects(restored(slowly(ctx), damaged, target), { code: 'checksum', message: /\/e is not written/ });
  const written = readdirSync(target).length;
  assert.ok(written < 500, `${written} were written`);
  for (let i = 0; i < 100; i++) await turn();
  assert.equal(readdirSync(target).length, written);
  assert.ok(!readdirSync(target).some((name) => name === 'e' || name === 'f0002-large'), 'half a file is none');
  assert.deepEqual(unhandled, []);
});

test('what else waits for the thread has its turn while small files are written', async () => {
  const { ctx, source } = await pointOf(200);
  const controller = new AbortController();
  const stopping: Source = {
    ...source,
    getAll(c, names) {
      setImmediate(() => controller.abort());
      return getAll(c, source, names);
    },
  };
  const target = freshDir();
  const stopped = { ...slowly(ctx), signal: controller.signal };
  await assert.rejects(restored(stopped, stopping, target), { name: 'AbortError' });
  assert.ok(readdirSync(target).length < 200);
});

test('small files come back as they are though their bytes are lent, also where threads write them', async () => {
  const { ctx, source } = await pointOf(600);
  let ms = 0;
  const slow = { ...ctx, monotonicMs: () => (ms += 100_000) }; // the first files that were made show it
  for (const paced of [{ ...ctx, monotonicMs: () => 0 }, slow]) {
    const target = freshDir();
    const lent: Source = {
      ...source,
      async *getAll(c, names) {
        for await (const bodies of getAll(c, source, names)) {
          const copies = bodies.map((body) => Buffer.from(body));
          yield copies;
          for (const copy of copies) copy.fill(0);
        }
      },
    };
    await restored(paced, lent, target);
    assert.deepEqual(await verdicts(ctx, source, target), ['pass: 601 paths, equal digests']);
  }
});

test('what is written is hashed then, whatever the store has looked at', async () => {
  const { ctx, source } = await pointOf(1);
  const changed: Source = {
    ...source,
    async *getAll(_ctx, names) {
      yield names.map(() => Buffer.from('content 1'));
    },
  };
  const target = freshDir();
  await assert.rejects(restored(ctx, changed, target), { code: 'checksum' });
  assert.ok(!readdirSync(target).includes(nameOf(0)));
});
