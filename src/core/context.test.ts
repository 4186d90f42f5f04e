import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { interruption, outliving, withDeadline, withSignal } from './context.ts';
import { Failure } from './errors.ts';
import type { Context } from './model.ts';
import { liveContext } from './testing.ts';

const never = (ctx: Context): Promise<never> => delay(60_000, undefined as never, { signal: ctx.signal });

test('work that is done in time gives its result', async () => {
  assert.equal(await withDeadline(liveContext(), 10_000, 'it', async () => 'done'), 'done');
});

test('work that takes too long is ended, and named', async () => {
  await assert.rejects(withDeadline(liveContext(), 20, 'asking the server', never), {
    code: 'timeout',
    message: 'asking the server: no end after 20 ms',
  });
});

test('a failure of the work stays what it is', async () => {
  const failing = withDeadline(liveContext(), 10_000, 'it', () => Promise.reject(new Failure('denied', 'no')));
  await assert.rejects(failing, { code: 'denied' });
});

test('stopping on request is not a timeout', async () => {
  const stop = new AbortController();
  const waiting = withDeadline(liveContext({ signal: stop.signal }), 10_000, 'it', never);
  stop.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
  assert.equal(interruption(stop.signal).code, 'interrupted');
});

test('either of two signals stops', () => {
  for (const which of [0, 1]) {
    const both = [new AbortController(), new AbortController()] as const;
    const ctx = withSignal(liveContext({ signal: both[0].signal }), both[1].signal);
    assert.equal(ctx.signal.aborted, false);
    both[which === 0 ? 0 : 1].abort(new Failure('lease-lost', 'away'));
    assert.equal(interruption(ctx.signal).code, 'lease-lost');
  }
});

test('who sleeps is woken by the signal of the context that it sleeps in, and by no other', async () => {
  const stop = new AbortController();
  const ctx = liveContext({ signal: stop.signal });
  stop.abort(new Failure('interrupted', 'stopped'));
  await outliving(ctx, 60_000).sleep(5);
  await assert.rejects(ctx.sleep(60_000), { code: 'interrupted' });
  const asleep = withDeadline(liveContext(), 20, 'a nap', (within) => within.sleep(60_000));
  await assert.rejects(asleep, { code: 'timeout', message: 'a nap: no end after 20 ms' });
});
