import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../core/errors.ts';
import type { ArchivedObject } from '../core/storage.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from '../engine/backup.ts';
import type { NamedStore } from '../engine/model.ts';
import { planRestore, type RestorePlan } from '../engine/restore-plan.ts';
import { kv, kvServer } from '../engine/testing.ts';
import { disk, named } from '../engine/testing-store.ts';
import type { ThawNeed } from '../engine/thaw.ts';
import { thawFirst } from './commands/restore.ts';
import { newSession } from './testing.ts';
import { thaw } from './thaw.ts';

type State = 'archived' | 'thawing' | 'thawed';

/** An object of folders that leads to 100 GiB of data of this class. What was asked for is back at the next look. */
function cold(storageClass = 'GLACIER', folders: State = 'archived'): { need: ThawNeed; asked: string[] } {
  const states = new Map<string, State>([['folders', folders]]);
  const asked: string[] = [];
  async function* needed(): AsyncIterable<ArchivedObject> {
    const leads = states.get('folders') !== 'thawed';
    if (!leads && !states.has('data')) states.set('data', 'archived');
    for (const [key, state] of states) {
      if (state === 'thawed') continue;
      const bytes = key === 'data' ? 100 * 2 ** 30 : 1;
      const kind = key === 'data' ? storageClass : 'GLACIER';
      const thawing = state === 'thawing';
      if (thawing) states.set(key, 'thawed');
      yield { key, bytes, modifiedAt: new Date(0), archived: true, storageClass: kind, thawing, leads };
    }
  }
  const ask = async (_ctx: unknown, key: string): Promise<void> => {
    asked.push(key);
    states.set(key, 'thawing');
  };
  return { need: { store: 'cold', what: 'point p', needed, thaw: ask }, asked };
}

const nothing: ThawNeed = {
  ...cold().need,
  async *needed() {},
};
const confirmed = { tier: 'Standard', usd: 1 } as const;

test('what folders that were archived lead to is not paid for before its price was confirmed', async () => {
  const { need, asked } = cold();
  const { session, told } = newSession(testContext());
  const waiting = thaw(session, need, confirmed, { thaw: 'standard', wait: true });
  await assert.rejects(waiting, (error) => isFailure(error, 'not-confirmed') && /about \$1\.54/.test(error.message));
  assert.deepEqual(asked, ['folders']);
  assert.match(told.notes, /ARCHIVED: 1 object, 100/);
});

test('with --yes the price of what folders lead to is told, and a tier that it lacks stops before it is paid', async () => {
  const { session, told } = newSession(testContext());
  const { need, asked } = cold();
  assert.equal(await thaw(session, need, confirmed, { thaw: 'standard', wait: true, yes: true }), null);
  assert.deepEqual(asked, ['folders', 'data']);
  assert.match(told.notes, /standard +5 h +about \$1\.54/);
  const deep = cold('DEEP_ARCHIVE');
  const options = { thaw: 'expedited', wait: true, yes: true } as const;
  await assert.rejects(thaw(session, deep.need, { tier: 'Expedited', usd: 1 }, options), (error) =>
    isFailure(error, 'usage'),
  );
  assert.deepEqual(deep.asked, ['folders']);
});

test('what came back while a person was asked leads to nothing that is paid for unseen', async () => {
  const { need, asked } = cold('GLACIER', 'thawed');
  const { session } = newSession(testContext());
  const asking = thaw(session, need, { tier: 'Standard', usd: 0 }, { thaw: 'standard' });
  await assert.rejects(asking, (error) => isFailure(error, 'not-confirmed'));
  assert.deepEqual(asked, []);
});

/** The plan of a restore of archived data over live data. */
async function overLive(need: ThawNeed, inPlace: boolean): Promise<{ plan: RestorePlan; from: NamedStore }> {
  const [ctx, inner, components] = [testContext(), named('a', disk()), [kv('db', kvServer({ a: '1' }))]];
  const { point } = await backUp(ctx, { stack: 'shop', plan: 'p', components, stores: [inner] });
  assert.ok(point);
  const from = { ...inner, store: { ...inner.store, archive: need } };
  return { plan: await planRestore(ctx, { from, point, components, inPlace }), from };
}

test('data that came back while a restore in place was planned is not put over live data unconfirmed', async () => {
  const { plan, from } = await overLive(cold('GLACIER', 'thawing').need, true);
  const back = { ...from, store: { ...from.store, archive: nothing } };
  const { session } = newSession(testContext());
  await assert.rejects(
    thawFirst(session, plan, { from: back }, { thaw: 'standard' }),
    (error) => isFailure(error, 'not-confirmed') && /replaces the data of db/.test(error.message),
  );
});

test('data that came back while a restore was planned is refused over live data before anybody is asked', async () => {
  const { plan, from } = await overLive(cold('GLACIER', 'thawing').need, false);
  const back = { ...from, store: { ...from.store, archive: nothing } };
  const { session } = newSession(testContext());
  const restoring = thawFirst(session, plan, { from: back }, { thaw: 'standard' });
  await assert.rejects(restoring, (error) => isFailure(error, 'target-not-empty'));
});

test('what is archived can be asked for while the live stack stands, and waiting for it over that is refused', async () => {
  const { need, asked } = cold();
  const { plan, from } = await overLive(need, false);
  const { session } = newSession(testContext());
  const options = { thaw: 'standard', yes: true } as const;
  const waiting = thawFirst(session, plan, { from }, { ...options, wait: true });
  await assert.rejects(waiting, (error) => isFailure(error, 'target-not-empty'));
  assert.deepEqual(asked, []);
  assert.ok(await thawFirst(session, plan, { from }, options));
  assert.deepEqual(asked, ['folders']);
});
