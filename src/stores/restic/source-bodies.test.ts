import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testContext } from '../../core/testing.ts';
import { noise, P1, save } from '../suite/rig.suite.ts';
import { largest, made, openStore, rewrite } from './testing.ts';

test('a lost blob fails the part that it is of, after all that come before it were given (fault 1)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const bodies = Array.from({ length: 50 }, (_, i) => noise(i, 3000));
  const names = bodies.map((_, i) => `part-${String(i).padStart(2, '0')}`);
  {
    await using store = await openStore(ctx, bucket);
    await save(ctx, store, P1, { db: Object.fromEntries(names.map((name, i) => [name, bodies[i] ?? ''])) });
  }
  await rewrite(ctx, bucket, await largest(ctx, bucket, 'data/'), (pack) => {
    pack.writeUInt8(pack.readUInt8(70_000) ^ 1, 70_000);
    return pack;
  });
  await using store = await openStore(ctx, bucket);
  const source = await store.open(ctx, P1, 'db');
  const given: Buffer[] = [];
  await assert.rejects(
    async () => {
      for await (const wholes of source.getAll?.(ctx, names) ?? []) {
        for (const whole of wholes) given.push(Buffer.from(whole));
      }
    },
    (error: Error & { code?: string }) =>
      error.code === 'checksum' && error.message.includes(`${P1}/db/${names[given.length]} can't be read`),
  );
  assert.ok(given.length > 5 && given.length < 45, `${given.length} were given`);
  assert.deepEqual(given, bodies.slice(0, given.length));
});
