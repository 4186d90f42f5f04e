import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, describe, test } from 'node:test';
import type { Component } from '../../core/component.ts';
import type { Driver, Guest } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import { inventoryFrom, judge, paired, putInventory } from '../../core/inventory.ts';
import { identityOf } from '../../core/liveness.ts';
import type { Finding, Json, Source } from '../../core/model.ts';
import type { Records } from '../../core/storage.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { sandboxSuite } from '../sandbox.suite.ts';
import { type ExternalOptions, externalSandbox } from './runner.ts';

const POINT = '2026-01-01-000000';

/** A shelf with things on it, by name: what a staging service is, and no more. */
interface Shelf {
  readonly name: string;
  things: Map<string, string>;
  cleared: number;
  down?: boolean;
  fails?: 'restore' | 'clear' | 'full';
}
const shelf = (name: string, things: Readonly<Record<string, string>> = {}): Shelf => ({
  name,
  things: new Map(Object.entries(things)),
  cleared: 0,
});

const shelfDriver = {
  kind: 'shelf',
  open(settings): Component & Required<Pick<Component, 'clear'>> {
    const place = settings as Shelf;
    const linesOf = () =>
      [...place.things].sort().map(([name, value]) => ({ kind: 'thing', name, count: value.length, digest: value }));
    return {
      async probe() {
        if (place.down) throw new Failure('unreachable', `${place.name} does not answer`);
        const holdsData = place.things.size === 0 ? null : `${place.things.size} things`;
        return { version: '1', identity: place.name, bytes: 0, holdsData, clockSkewMs: 0, findings: [] };
      },
      capture: () => Promise.reject(new Error('nobody captures a staging service')),
      async restore(ctx, { base }) {
        if (place.things.size > 0 || place.fails === 'full') throw new Failure('target-not-empty', 'it is full');
        for await (const { name } of base.parts(ctx)) {
          if (name.startsWith('things/')) place.things.set(name.slice(7), 'thing');
          if (place.fails === 'restore') throw new Failure('unreachable', 'half of it is there');
        }
        return { bytes: 0, method: 'by hand', warnings: [] };
      },
      async clear() {
        if (place.fails === 'clear') throw new Failure('unreachable', 'it went away');
        place.cleared += 1;
        place.things.clear();
        return [];
      },
      inventory: async () => inventoryFrom(linesOf()),
    };
  },
  async *compare(ctx, expected, actual) {
    for await (const pair of paired(ctx, expected, actual)) yield judge(pair, 'a thing');
  },
} satisfies Driver;

function memoryRecords(): Records & { readonly kept: Map<string, Json> } {
  const kept = new Map<string, Json>();
  return {
    kept,
    async put({ signal }, kind, id, value) {
      signal.throwIfAborted();
      kept.set(`${kind}/${id}`, value);
    },
    async get(_ctx, kind, id) {
      if (kept.has(`${kind}/${id}`)) return kept.get(`${kind}/${id}`);
      throw new Failure('missing', id);
    },
    async *list(_ctx, kind, prefix = '') {
      for (const key of kept.keys()) if (key.startsWith(`${kind}/${prefix}`)) yield key.slice(kind.length + 1);
    },
    async delete({ signal }, kind, id) {
      signal.throwIfAborted();
      kept.delete(`${kind}/${id}`);
    },
  };
}

async function source(names: readonly string[]): Promise<Source> {
  const ctx = liveContext();
  const parts = memoryParts('it', POINT);
  for (const name of names) await parts.sink.put(ctx, `things/${name}`, (async function* () {})());
  const lines = names.toSorted().map((name) => ({ kind: 'thing', name, count: 5, digest: 'thing' }));
  await putInventory(ctx, parts.sink, lines);
  return parts.source;
}

interface Scene {
  readonly staging: Shelf;
  readonly live: Shelf;
  readonly records: ReturnType<typeof memoryRecords>;
  readonly options: ExternalOptions;
}

async function scene(
  more: Partial<ExternalOptions> = {},
  holds: Readonly<Record<string, string>> = {},
): Promise<Scene> {
  const [staging, live, records] = [shelf('staging', holds), shelf('live', { cup: 'thing' }), memoryRecords()];
  const point = await source(['cup', 'plate']);
  const guest: Guest = {
    component: 'it',
    point: POINT,
    identity: 'live',
    captured: shelfDriver.open(live),
    settings: live,
    open: async () => point,
  };
  return { staging, live, records, options: { staging, guest, records, ...more } };
}

async function drill({ options }: Scene): Promise<readonly Finding[]> {
  const ctx = liveContext();
  await using box = await externalSandbox(options).start(ctx, shelfDriver, '1');
  await box.component.restore(ctx, { base: await options.guest.open(ctx, POINT) });
  return [...(box.findings ?? []), ...((await box.vacate?.(ctx)) ?? [])];
}

const noted = ({ records }: Scene): readonly string[] => [...records.kept.keys()];

/** As a drill leaves it that was killed: with its note, which says that it had seen nothing there, and begun. */
async function killed(scene_: Scene, left: Readonly<Record<string, string>>, begun = true): Promise<void> {
  const ctx = liveContext();
  const { component } = await externalSandbox(scene_.options).start(ctx, shelfDriver, '1');
  if (begun) await component.restore(ctx, { base: await scene_.options.guest.open(ctx, POINT) });
  const [key = ''] = noted(scene_);
  const note = scene_.records.kept.get(key) as { process: Record<string, Json> };
  scene_.records.kept.set(key, { ...note, process: { ...note.process, start: '1' } });
  scene_.staging.things = new Map(Object.entries(left));
}

test('what was restored is gone again after the drill, and nothing is noted', async () => {
  const at = await scene({ isolated: true });
  const found = await drill(at);
  assert.deepEqual(
    found.map(({ verdict, detail }) => [verdict, detail]),
    [
      ['pass', 'as the configuration says (isolated)'],
      ['pass', 'what came back was removed'],
    ],
  );
  assert.deepEqual([at.staging.things.size, at.staging.cleared, noted(at)], [0, 1, []]);
});

test('that a staging service is isolated is unknown unless it is shown, or its owner says so', async () => {
  const [first] = await drill(await scene());
  assert.equal(first?.verdict, 'unknown');
  assert.match(first?.hint ?? '', /isolated: true/);
});

describe('a staging service that may be the one that is protected is refused, with nothing touched', () => {
  const refused = async (at: Scene, why: RegExp): Promise<void> => {
    await assert.rejects(drill(at), { code: 'denied', message: why });
    assert.deepEqual([at.live.things.size, at.live.cleared, at.staging.cleared, noted(at)], [1, 0, 0, []]);
  };
  test('by the same settings', async () => {
    const at = await scene();
    await refused({ ...at, options: { ...at.options, staging: at.live } }, /the same settings/);
  });
  test('by the identity in the point, also when the live service is down', async () => {
    const at = await scene();
    at.live.down = true;
    await refused({ ...at, options: { ...at.options, staging: shelf('live') } }, /the server that was captured/);
  });
  test('by the identity of the live service, which may have another one since the capture', async () => {
    const at = await scene();
    const guest = { ...at.options.guest, identity: 'as it was called before it was started again' };
    await refused({ ...at, options: { ...at.options, guest, staging: shelf('live') } }, /the live server/);
  });
  test('by an address that both settings name, however they write it', async () => {
    const at = await scene();
    const guest = { ...at.options.guest, settings: { url: 'redis://:secret@localhost:6379/2' } };
    const staging = { ...shelf('other'), host: '127.0.0.1', port: 6379 };
    await refused({ ...at, options: { ...at.options, guest, staging } }, /the server at localhost:6379/);
  });
});

test('a staging service that holds data is refused, and keeps it', async () => {
  const at = await scene({}, { vase: 'of somebody' });
  await assert.rejects(drill(at), { code: 'target-not-empty', hint: /nothing was touched/ });
  assert.deepEqual([[...at.staging.things.keys()], at.staging.cleared, noted(at)], [['vase'], 0, []]);
});

test('what somebody put there between the look and the restore stays theirs', async () => {
  const at = await scene();
  at.staging.fails = 'full';
  await assert.rejects(drill(at), { code: 'target-not-empty' });
  assert.deepEqual([at.staging.cleared, noted(at)], [0, []]);
});

test('half a restore is cleared away with the drill that failed', async () => {
  const at = await scene();
  at.staging.fails = 'restore';
  await assert.rejects(drill(at), { code: 'unreachable' });
  assert.deepEqual([at.staging.things.size, at.staging.cleared, noted(at)], [0, 1, []]);
});

test('a user who breaks off leaves nothing there, whether it could be cleared away at once or not', async () => {
  for (const fails of [undefined, 'clear'] as const) {
    const at = await scene();
    const stop = new AbortController();
    const ctx = liveContext({ signal: stop.signal });
    {
      await using box = await externalSandbox(at.options).start(ctx, shelfDriver, '1');
      await box.component.restore(ctx, { base: await at.options.guest.open(ctx, POINT) });
      if (fails) at.staging.fails = fails;
      stop.abort();
    }
    assert.deepEqual([at.staging.things.size, noted(at).length], fails ? [2, 1] : [0, 0]);
    delete at.staging.fails;
    await drill(at);
    assert.deepEqual([at.staging.things.size, noted(at).length], [0, 0]);
  }
});

test('what could not be cleared away is by the next drill', async () => {
  const at = await scene();
  at.staging.fails = 'clear';
  await assert.rejects(drill(at), { code: 'unreachable' });
  assert.deepEqual([at.staging.things.size, noted(at).length], [2, 1]);
  delete at.staging.fails;
  await drill(at);
  assert.deepEqual([at.staging.things.size, at.staging.cleared, noted(at)], [0, 2, []]);
});

describe('of a drill that was killed', () => {
  test('the next one clears away what it left (fault 45)', async () => {
    const at = await scene({ isolated: true });
    await killed(at, { cup: 'thing' });
    const verdicts = (await drill(at)).map(({ verdict }) => verdict);
    assert.deepEqual([...new Set(verdicts)], ['pass']);
    assert.deepEqual([at.staging.cleared, at.staging.things.size, noted(at)], [2, 0, []]);
  });
  test('nothing is cleared away when somebody has put something of theirs there since', async () => {
    const theirs = [{ cup: 'thing', vase: 'of somebody' }, { cup: 'larger' }, { cup: 'small' }, { cup: 'its' }];
    for (const left of theirs as readonly Record<string, string>[]) {
      const at = await scene();
      await killed(at, left);
      await assert.rejects(drill(at), { code: 'target-not-empty' });
      assert.deepEqual([at.staging.cleared, at.staging.things.size], [0, Object.keys(left).length]);
    }
  });
  test('nothing is cleared away when it had restored nothing yet, whatever has come there since', async () => {
    const at = await scene();
    await killed(at, { cup: 'thing' }, false);
    await assert.rejects(drill(at), { code: 'target-not-empty' });
    assert.deepEqual([at.staging.cleared, [...at.staging.things.keys()], noted(at)], [0, ['cup'], []]);
  });
  test('what the driver knows for half of a restore is cleared away', async () => {
    const at = await scene({ isolated: true });
    await killed(at, { cup: 'th' });
    const isHalfOf: Driver['isHalfOf'] = (captured, { count }) => (count ?? 0) < (captured.count ?? 0);
    await using _ = await externalSandbox(at.options).start(liveContext(), { ...shelfDriver, isHalfOf }, '1');
    assert.deepEqual([at.staging.cleared, at.staging.things.size], [1, 0]);
  });
  test('nothing is cleared away when its point is gone, so that nobody can tell what was its', async () => {
    const at = await scene();
    await killed(at, { cup: 'thing' });
    const open = (): Promise<Source> => Promise.reject(new Failure('missing', 'no such point'));
    await assert.rejects(drill({ ...at, options: { ...at.options, guest: { ...at.options.guest, open } } }), {
      code: 'target-not-empty',
    });
    assert.equal(at.staging.cleared, 0);
  });
});

test('two drills never have one staging service at the same time', async () => {
  const at = await scene();
  const ctx = liveContext();
  const runner = externalSandbox(at.options);
  {
    await using _ = await runner.start(ctx, shelfDriver, '1');
    await assert.rejects(runner.start(ctx, shelfDriver, '1'), { code: 'locked' });
  }
  const both = await Promise.allSettled([1, 2].map(() => runner.start(ctx, shelfDriver, '1')));
  const refusals = both.flatMap((each) => (each.status === 'rejected' ? [each.reason as Failure] : []));
  assert.ok(refusals.length >= 1, 'never both, and neither where each has seen the other');
  assert.ok(refusals.every(({ code }) => code === 'locked'));
});

test('a drill of another machine has it for a day, since nobody can see its end', async () => {
  const at = await scene();
  const own = await identityOf(process.pid);
  const runner = externalSandbox(at.options);
  let folder = '';
  {
    await using _ = await runner.start(liveContext(), shelfDriver, '1');
    folder = noted(at)[0]?.replace(/[^/]+$/, '') ?? '';
  }
  const note = { point: POINT, process: own && { ...own, host: 'elsewhere' }, before: null };
  at.records.kept.set(`${folder}theirs`, { ...note, noted_at: new Date().toISOString() });
  await assert.rejects(runner.start(liveContext(), shelfDriver, '1'), { code: 'locked', hint: /after a day/ });
  at.records.kept.set(`${folder}theirs`, { ...note, noted_at: new Date(Date.now() - 25 * 3_600_000).toISOString() });
  await using _ = await runner.start(liveContext(), shelfDriver, '1');
});

/** Real listeners, one for each word that the suite's servers are told. */
const listeners = new Map(
  ['well', 'one', 'two', 'mute'].map((word) => {
    const listener = createServer((socket) => void (word === 'mute' || socket.end(`${word} ${word} 0`)));
    return [word, listener.listen(0, '127.0.0.1')];
  }),
);
after(() => {
  for (const listener of listeners.values()) listener.close();
});
const suiteRecords = memoryRecords();

sandboxSuite('external', {
  async runner(readyMs, word) {
    const { options } = await scene();
    const address = listeners.get(word)?.address();
    assert(typeof address === 'object' && address !== null);
    const staging = { port: address.port };
    const captured = shelfDriver.open(shelf('live'));
    const guest = { ...options.guest, component: word, captured };
    return externalSandbox({ ...options, staging, guest, records: suiteRecords, readyMs });
  },
  leftovers: () => [...suiteRecords.kept.keys()],
  except: {
    'a server of its own has a directory of its own': 'it starts none',
    'a server that dies is reported with its last words, and leaves nothing': 'it starts none',
    'stopping while it starts leaves nothing': 'it waits for nothing: what it has begun is noted and cleared',
    'a kind without servers has no sandbox': 'a staging service needs none to be started',
  },
});
