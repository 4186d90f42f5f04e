import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, describe, it } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { type Loki, type LokiOptions, startLoki } from '../../../test/servers/loki.ts';
import { missing } from '../../../test/servers/need.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { lokiDriver } from './driver.ts';
import { matchersOf } from './select.ts';
import { fill, nsAgo, type Place, push } from './testing.ts';

const HOUR_MS = 3_600_000;
const skip = await missing('loki-3');
let shared: Promise<Loki> | undefined;
let tenants = 0;
after(async () => await (await shared)?.[Symbol.asyncDispose]());

/** A tenant of its own, in a server that gives a hundred lines per query and refuses what is older than five days. */
async function place(): Promise<Place & { url: string; tenant: string }> {
  const limits = ['max_entries_limit_per_query: 100', 'reject_old_samples: true', 'reject_old_samples_max_age: 120h'];
  shared ??= startLoki({ tenants: true, limits } satisfies LokiOptions);
  return { url: (await shared).url, tenant: `t${++tenants}` };
}

/** Of the day (UTC) so many days ago. */
function noon(daysAgo: number): string {
  const today = Math.floor(Date.now() / (24 * HOUR_MS)) * 24 * HOUR_MS;
  return `${today - (daysAgo - 0.5) * 24 * HOUR_MS}000000`;
}

async function captured(settings: object, previous?: Source, sink?: (s: Sink, p?: Source) => Sink): Promise<Source> {
  const parts = memoryParts('it', previous ? '2026-01-02-000000' : '2026-01-01-000000');
  await lokiDriver.open(settings).capture(liveContext(), sink?.(parts.sink, previous) ?? parts.sink, previous);
  return parts.source;
}

async function textsOf(source: Source): Promise<string[]> {
  const lines: string[] = [];
  for await (const { name } of source.parts(liveContext(), 'lines/')) {
    const text = (await readAll(source.get(liveContext(), name))).toString();
    lines.push(
      ...text
        .trim()
        .split('\n')
        .map((each) => String(JSON.parse(each).line)),
    );
  }
  return lines;
}

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

  it('that are too old for the target are counted, and told beforehand', async () => {
    const at = await place();
    const ctx = liveContext();
    await using lax = await startLoki();
    await push(lax, [
      {
        stream: { app: 'a' },
        values: [
          [nsAgo(130 * HOUR_MS), 'too old'],
          [nsAgo(100 * HOUR_MS), 'old enough'],
        ],
      },
    ]);
    const source = await captured({ url: lax.url });
    const target = lokiDriver.open(at);
    const told = await target.ageing?.(ctx, { base: source });
    assert.match(String(told), /refuses lines older than 5 days/);
    const { missing: left = [] } = await target.restore(ctx, { base: source });
    assert.match(left.join(), /^1 lines are older than 5 days/);
  });

  it('come back in a sandbox as they were, and curl sees them', async () => {
    const at = await place();
    const ctx = liveContext({
      env: { ...process.env, PATH: `${process.env.PATH}:${dirname(await installed('loki-3'))}` },
    });
    await fill(at);
    const source = await captured(at);
    const opened: unknown[] = [];
    const driver = {
      ...lokiDriver,
      open(given: unknown) {
        opened.push(given);
        return lokiDriver.open(given);
      },
    };
    await using sandbox = await processSandboxes().start(ctx, driver, '3.7.8', at);
    const { missing: left } = await sandbox.component.restore(ctx, { base: source });
    assert.deepEqual(left, []);
    const now = await sandbox.component.inventory(ctx);
    const findings = await Array.fromAsync(lokiDriver.compare(ctx, inventoryOf(source), now));
    assert.equal(worst(findings.map(({ verdict }) => verdict)), 'pass');
    const { url } = opened.at(-1) as { url: string };
    const query = new URLSearchParams({
      query: '{job="x\\"y"} | trace_id="abc"',
      start: nsAgo(2 * HOUR_MS),
      end: nsAgo(0),
    });
    const seen = await (await fetch(`${url}/loki/api/v1/query_range?${query}`)).text();
    assert.match(seen, /"with"/);
    assert.doesNotMatch(seen, /"plain"/);
  });

  it('are chosen by stream and time', async () => {
    const [at, target] = [await place(), await place()];
    const ctx = liveContext();
    await push(at, [
      {
        stream: { app: 'a' },
        values: [
          [nsAgo(3 * HOUR_MS), 'a early'],
          [nsAgo(HOUR_MS), 'a late'],
        ],
      },
      { stream: { app: 'b' }, values: [[nsAgo(HOUR_MS), 'b late']] },
    ]);
    const since = new Date(Number(BigInt(nsAgo(2 * HOUR_MS)) / 1_000_000n)).toISOString();
    const source = await captured(at);
    await lokiDriver.open(target).restore(ctx, { base: source }, { select: { streams: '{app=~"a|x"}', since } });
    assert.deepEqual(await textsOf(await captured(target)), ['a late']);
    const again = lokiDriver.open(target).restore(ctx, { base: source });
    await assert.rejects(again, { code: 'target-not-empty' });
    await assert.rejects(lokiDriver.open(target).restore(ctx, { base: source }, { select: { tables: ['x'] } }), {
      code: 'usage',
    });
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
