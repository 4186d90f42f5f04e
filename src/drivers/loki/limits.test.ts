// A Loki that allows little: what it gives and takes is found out, used, and told.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type Loki, startLoki } from '../../../test/servers/loki.ts';
import { missing } from '../../../test/servers/need.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Finding, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { lokiDriver } from './driver.ts';
import { readSettings } from './settings.ts';
import { nsAgo, type Place, push, rawPush } from './testing.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const STREAMS_MAX = 60;
const skip = await missing('loki-3');
let shared: Promise<Loki> | undefined;
let tenants = 0;
after(async () => await (await shared)?.[Symbol.asyncDispose]());

async function place(): Promise<Place & { url: string; tenant: string }> {
  const limits = [
    'max_query_length: 6h',
    'max_entries_limit_per_query: 100',
    'max_query_lookback: 36h',
    `max_global_streams_per_user: ${STREAMS_MAX}`,
    'max_query_series: 5',
    'retention_period: 72h',
  ];
  shared ??= startLoki({ tenants: true, limits });
  return { url: (await shared).url, tenant: `t${++tenants}` };
}

async function captured(settings: object): Promise<{ source: Source; warnings: readonly string[]; lines: number }> {
  const { sink, source } = memoryParts();
  const { warnings, totals } = await lokiDriver.open(settings).capture(liveContext(), sink);
  return { source, warnings, lines: totals.lines ?? 0 };
}

async function verdictOf(expected: Source, settings: object): Promise<string> {
  const ctx = liveContext();
  const actual = await lokiDriver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(lokiDriver.compare(ctx, inventoryOf(expected), actual));
  return worst(findings.map(({ verdict }) => verdict));
}

describe('a Loki that allows little', { skip }, () => {
  it('is asked for as much time and as many lines as it gives, and gives all', async () => {
    const at = { ...(await place()), since: '1d' };
    const values = Array.from({ length: 700 }, (_, n) => [nsAgo(20 * HOUR_MS - n * 60_000), `line ${n}`] as const);
    await push(at, [{ stream: { app: 'a' }, values }]);
    const { source, lines } = await captured(at);
    assert.equal(lines, values.length);
    const target = { ...(await place()), since: '1d' };
    const { missing: left } = await lokiDriver.open(target).restore(liveContext(), { base: source });
    assert.deepEqual(left, []);
    assert.equal(await verdictOf(source, target), 'pass');
  });

  it('gives lines of many streams at one nanosecond, some streams at a time', async () => {
    const at = { ...(await place()), since: '1d' };
    const same = nsAgo(HOUR_MS);
    const streams = Array.from({ length: STREAMS_MAX - 1 }, (_, n) => ({
      stream: { app: 'many', name: `a.b|c "${n}"\\` },
      values: Array.from({ length: n === 7 ? 220 : 1 }, (__, i) => [same, i === 0 ? 'up' : `up ${i}`] as const),
    }));
    await push(at, streams);
    const { lines } = await captured(at);
    assert.equal(lines, STREAMS_MAX - 2 + 220);
  });

  it('takes no more streams than it is told to, which is seen beforehand, and the rest is named', async () => {
    const full = await startLoki();
    await using _ = full;
    const streams = Array.from({ length: 2 * STREAMS_MAX }, (__, n) => ({
      stream: { app: 'a', n: `${n}` },
      values: [[nsAgo(HOUR_MS, n), `line ${n}`] as const],
    }));
    await push(full, streams);
    const { source } = await captured({ url: full.url, since: '1d' });
    const target = { ...(await place()), since: '1d' };
    const component = lokiDriver.open(target);
    const told = (await component.cautions?.(liveContext(), { base: source })) ?? [];
    assert.match(told.join(), /takes lines of 60 streams at a time, a day of the point has 120/);
    const { missing: left = [] } = await component.restore(liveContext(), { base: source });
    assert.match(left.join(), /lines were refused: .*stream limit/);
    assert.equal((await captured(target)).lines, STREAMS_MAX);
  });

  it('says what keeps a point from being whole, and doctor has a finding for each', async () => {
    const at = { ...(await place()), since: '2d' };
    await push(at, [{ stream: { app: 'a' }, values: [[nsAgo(HOUR_MS), 'x']] }]);
    // The server counts also those that it does not give any more.
    const edge = Array.from({ length: 90 }, (_, n) => [nsAgo(37 * HOUR_MS - n * 60_000), `${n}`] as const);
    await push(at, [{ stream: { app: 'edge' }, values: edge }]);
    const { warnings, lines } = await captured(at);
    assert.ok(lines > 1 && lines < 91, `${lines} lines`);
    assert.match(warnings.join(), /older than 36 hours are given to nobody/);
    assert.deepEqual((await captured({ ...at, since: '1d' })).warnings, []);
    const verdicts = async (settings: object): Promise<Record<string, string>> => {
      const { findings } = await lokiDriver.open(settings).probe(liveContext());
      return Object.fromEntries(findings.map(({ check, verdict }: Finding) => [check, verdict]));
    };
    const fine = {
      'the tenant’s lines may be read': 'pass',
      'lines may be pushed, for restores': 'pass',
      'many lines are given at once': 'unknown',
      'a restore may bring old lines': 'pass',
      'a restore may bring as many streams': 'pass',
      'lines are kept as long as a capture goes back': 'pass', // nothing is deleted while the compactor does not
      'lines are given as far back as a capture goes': 'unknown',
    };
    assert.deepEqual(await verdicts(at), fine);
    assert.deepEqual(await verdicts({ ...at, since: '1d' }), {
      ...fine,
      'lines are given as far back as a capture goes': 'pass',
    });
    const { url } = at;
    const without = await verdicts({ url });
    assert.equal(without['the tenant’s lines may be read'], 'fail');
    assert.equal(without['lines may be pushed, for restores'], 'unknown');
  });

  it('keeps lines with NUL and quotes, and what is no UTF-8 as the server shows it', async () => {
    const at = { ...(await place()), since: '1d' };
    const labels = { app: 'odd "quoted" \\ {x="y"}', name: 'ü\u0001\n日本' };
    const texts = ['\0 NUL \0', 'a'.repeat(200_000), '{"json": "\\"x\\""}', ' ', '\u2028', '`backticks`', '%s \\x'];
    const values = texts.map((text, n) => [nsAgo(HOUR_MS, n), text] as const);
    await push(at, [{ stream: labels, values }]);
    await rawPush(at, '{app="raw"}', BigInt(nsAgo(HOUR_MS, 99)), Buffer.from([0x66, 0xff, 0xfe, 0x6f]));
    const { source, lines } = await captured(at);
    assert.equal(lines, texts.length + 1);
    const target = { ...(await place()), since: '1d' };
    await lokiDriver.open(target).restore(liveContext(), { base: source });
    assert.equal(await verdictOf(source, target), 'pass');
  });
});

describe('settings of loki', () => {
  it('go back seven days unless told otherwise, and are of one tenant', () => {
    const url = 'http://localhost:3100';
    assert.equal(readSettings({ url }).sinceMs, 7 * DAY_MS);
    for (const tenant of ['a|b', '', '..']) {
      assert.throws(() => readSettings({ url, tenant }), { code: 'settings-invalid' }, tenant);
    }
  });
});
