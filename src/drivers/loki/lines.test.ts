import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startLoki } from '../../../test/servers/loki.ts';
import { missing } from '../../../test/servers/need.ts';
import type { Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { lokiDriver } from './driver.ts';
import { streamName, undivided } from './lines.ts';
import { linesAt } from './moment.ts';
import { readingOf } from './query.ts';
import { matchersOf } from './select.ts';
import { readSettings } from './settings.ts';
import { captured, HOUR_MS, noon, place, textsOf, verdictOf, writtenToStore } from './stage-testing.ts';
import { gatewayTo, nsAgo, push } from './testing.ts';

const skip = await missing('loki-3');
describe('the lines of a Loki', { skip }, () => {
  it('all come, each once, also many at one nanosecond (fault 43)', async () => {
    const at = await place();
    const same = nsAgo(HOUR_MS);
    const burst = (prefix: string, count: number) =>
      Array.from({ length: count }, (_, n) => [same, `${prefix}${n}`] as const);
    await push(at, [
      { stream: { app: 'a' }, values: [[nsAgo(HOUR_MS + 1), 'before'], ...burst('the same beginning ', 450)] },
      { stream: { app: 'a', more: 'b' }, values: burst('', 250) },
      { stream: { app: 'c' }, values: [...burst('c', 60), [same, ''], [nsAgo(HOUR_MS - 1), 'after']] },
    ]);
    const texts = await textsOf(await captured(at));
    assert.equal(texts.length, 450 + 250 + 60 + 3);
    assert.equal(new Set(texts).size, texts.length);
    assert.deepEqual([texts[0], texts.at(-1)], ['before', 'after']);
  });

  it('of one nanosecond are those of the streams that were asked for, though others differ in one label alone (fault 43)', async () => {
    const at = await place();
    const same = nsAgo(HOUR_MS);
    const burst = (prefix: string) => Array.from({ length: 310 }, (_, n) => [same, `${prefix} ${n}`] as const);
    await push(at, [
      { stream: { app: 'a' }, values: burst('plain') },
      { stream: { app: 'a', more: 'b' }, values: burst('more') },
    ]);
    const reading = readingOf(readSettings(at), 300);
    for (const [selector, prefix] of [
      ['{app="a", more=""}', 'plain'],
      ['{app="a", more="b"}', 'more'],
    ] as const) {
      const texts = (await Array.fromAsync(linesAt(liveContext(), reading, BigInt(same), selector))).flat();
      assert.deepEqual(new Set(texts.map(({ line }) => line)), new Set(burst(prefix).map(([, line]) => line)));
      assert.equal(texts.length, 310);
    }
  });

  it('come also where they end a stored chunk; those that are given to nobody are told and hinder no others (fault 43)', async () => {
    const [at, hourly] = [await place(), await place()];
    const values = Array.from({ length: 300 }, (_, n) => [nsAgo(3 * HOUR_MS - n), `line ${n}`] as const);
    await push(at, [{ stream: { app: 'a' }, values }]);
    // The server itself begins a query at the hour, where the chunk of the first stream ends.
    const [soup, lunch] = [noon(1, -9), noon(1, 0)];
    await push(hourly, [
      {
        stream: { app: 'a' },
        values: [
          [soup, 'soup'],
          [lunch, 'lunch'],
        ],
      },
    ]);
    await push(hourly, [
      {
        stream: { app: 'b' },
        values: [
          [noon(1, 2), 'tea'],
          [nsAgo(HOUR_MS), 'now'],
        ],
      },
    ]);
    await writtenToStore(at);
    assert.equal((await textsOf(await captured(at))).length, values.length);
    const { source, sink } = memoryParts();
    const { warnings } = await lokiDriver.open(hourly).capture(liveContext(), sink);
    assert.deepEqual(await textsOf(source), ['soup', 'tea', 'now']);
    assert.match(warnings.join(), /^1 lines at the first moment of an hour are missing/);
  });

  it('come whole although they are larger than the parts of a server hand to one another (fault 43)', async () => {
    const [at, target] = [
      { ...(await place()), since: '1d' },
      { ...(await place()), since: '1d' },
    ];
    const large = (n: number, bytes: number) => [nsAgo(HOUR_MS, n * 10_000), `${n} `.padEnd(bytes, 'x')] as const;
    const several = (from: number, count: number, bytes: number) =>
      Array.from({ length: count }, (_, n) => large(from + n, bytes));
    const same = nsAgo(2 * HOUR_MS);
    await push(at, [
      {
        stream: { app: 'a' },
        values: [
          [same, 'twice', { trace: 'x' }],
          [same, 'twice', { trace: 'y' }],
          [same, 'twice'],
        ],
      },
    ]);
    // Of 250 lines before, those it had at hand come; of those behind none, and no word of it.
    await push(at, [{ stream: { app: 'a' }, values: several(0, 250, 20) }]);
    for (let n = 250; n < 280; n += 10) await push(at, [{ stream: { app: 'a' }, values: several(n, 10, 240_000) }]);
    await push(at, [{ stream: { app: 'a' }, values: several(280, 250, 20) }]);
    const source = await captured(at);
    const texts = await textsOf(source);
    assert.equal(texts.filter((text) => text !== 'twice').length, 530);
    assert.equal(texts.filter((text) => text.length === 240_000).length, 30);
    const { missing: left } = await lokiDriver.open(target).restore(liveContext(), { base: source });
    assert.deepEqual(left, []);
    assert.equal(await verdictOf(source, target), 'pass');
  });

  it('come whole also where many of 1 KB are more than a server hands on at once', async () => {
    await using server = await startLoki({ limits: ['max_entries_limit_per_query: 5000'] });
    for (let n = 0; n < 5000; n += 1000) {
      const values = Array.from(
        { length: 1000 },
        (_, i) => [nsAgo(HOUR_MS, n + i), `${n + i} `.padEnd(1024, 'x')] as const,
      );
      await push(server, [{ stream: { app: 'a' }, values }]);
    }
    const ctx = liveContext({ sleep: () => Promise.reject(new Error('nothing is tried again')) });
    const { sink } = memoryParts();
    const { totals } = await lokiDriver.open({ url: server.url, since: '1d' }).capture(ctx, sink);
    assert.equal(totals.lines, 5000);
  });

  it('are refused where metadata is not told from labels, as by an older Loki', async () => {
    const at = await place();
    await push(at, [{ stream: { app: 'a' }, values: [[nsAgo(HOUR_MS), 'x', { trace: 'y' }]] }]);
    await using deaf = await gatewayTo(at.url, /flags/);
    const capturing = captured({ ...at, url: deaf.url });
    await assert.rejects(capturing, { code: 'version-mismatch', hint: /Response-Encoding-Flags/ });
  });

  it('of streams without a common label come too', async () => {
    const at = await place();
    for (let n = 0; n < 4; n++) {
      const values = Array.from({ length: 130 }, (_, i) => [nsAgo(HOUR_MS - i * 1000, n), `${n} ${i}`] as const);
      await push(at, [{ stream: n < 3 ? { [`only_${n}`]: 'x', service_name: '' } : { app: 'y' }, values }]);
    }
    assert.equal((await textsOf(await captured(at))).length, 520);
    assert.equal((await textsOf(await captured({ ...at, selector: '{app="y"}' }))).length, 130);
  });

  it('are told from those of other tenants, and none is given without one', async () => {
    const [at, other] = [await place(), await place()];
    await push(at, [{ stream: { app: 'a' }, values: [[nsAgo(HOUR_MS), 'mine']] }]);
    await push(other, [{ stream: { app: 'a' }, values: [[nsAgo(HOUR_MS), 'theirs']] }]);
    assert.deepEqual(await textsOf(await captured(at)), ['mine']);
    await assert.rejects(captured({ url: at.url }), { code: 'wrong-password', hint: /tenant/ });
  });

  it('of a finished day are not read again unless their number has changed', async () => {
    const at = { ...(await place()), since: '3d' };
    await push(at, [
      {
        stream: { app: 'a' },
        values: [
          [noon(2), 'old'],
          [noon(1), 'day'],
        ],
      },
    ]);
    const first = await captured(at);
    const kept: string[] = [];
    const keeping = (sink: Sink, previous?: Source): Sink => ({
      ...sink,
      async keep(ctx, name, from, meta) {
        kept.push(name);
        assert.ok(previous);
        return await sink.put(ctx, name, previous.get(ctx, from.name), meta);
      },
    });
    await push(at, [{ stream: { app: 'b' }, values: [[noon(1), 'late']] }]);
    const second = await captured(at, first, keeping);
    assert.deepEqual((await textsOf(second)).sort(), ['day', 'late', 'old']);
    const day = new Date(Number(BigInt(noon(2)) / 1_000_000n)).toISOString().slice(0, 10);
    assert.deepEqual(kept.sort(), [`lines/${day}.json`, `streams/${day}.ndjson`]);
  });

  it('of a stream that the server divides are of one', () => {
    const labels = { __stream_shard__: '1', app: 'a', service_name: 'a' };
    assert.equal(streamName(labels), streamName({ app: 'a' }));
    assert.deepEqual(undivided(labels), { app: 'a', service_name: 'a' });
  });

  it('are matched as a Loki matches them', () => {
    const matches = (text: string, labels: Record<string, string>) => matchersOf(text).every((each) => each(labels));
    assert.ok(matches('{app="shop", env!~"dev|test"}', { app: 'shop', env: 'prod' }));
    assert.ok(!matches('{app="shop", env!~"dev|test"}', { app: 'shop', env: 'dev' }));
    assert.ok(matches('{app=~`s.*`, none=""}', { app: 'shop' }));
    assert.throws(() => matchersOf('{app=shop}'), { code: 'usage' });
    assert.throws(() => matchersOf('app="shop"'), { code: 'usage' });
  });
});
