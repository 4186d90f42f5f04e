import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { installed } from '../../../test/servers/install.ts';
import { type Loki, type LokiOptions, startLoki } from '../../../test/servers/loki.ts';
import { missing, missingTools } from '../../../test/servers/need.ts';
import { removeDir, temporaryDir, until } from '../../../test/servers/processes.ts';
import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { lokiDriver } from './driver.ts';
import { streamName, undivided } from './lines.ts';
import { matchersOf } from './select.ts';
import { fill, gatewayTo, nsAgo, type Place, push } from './testing.ts';

const exec = promisify(execFile);
const HOUR_MS = 3_600_000;
const skip = await missing('loki-3');
let shared: Promise<Loki> | undefined;
let tenants = 0;
after(async () => await (await shared)?.[Symbol.asyncDispose]());

/** A tenant of its own; the server gives 300 lines per query, refuses what is older than five days, and hurries. */
async function place(): Promise<Place & { url: string; tenant: string; since: string }> {
  const limits = ['max_entries_limit_per_query: 300', 'reject_old_samples: true', 'reject_old_samples_max_age: 120h'];
  limits.push('ingestion_rate_mb: 1024', 'ingestion_burst_size_mb: 1024');
  shared ??= startLoki({ tenants: true, limits } satisfies LokiOptions);
  return { url: (await shared).url, tenant: `t${++tenants}`, since: '2d' };
}

/** Of the day (UTC) so many days ago: just after, since what lies at a whole hour may be given to nobody. */
function noon(daysAgo: number, afterMs = 1): string {
  const today = Math.floor(Date.now() / (24 * HOUR_MS)) * 24 * HOUR_MS;
  return `${today - (daysAgo - 0.5) * 24 * HOUR_MS + afterMs}000000`;
}

async function captured(settings: object, previous?: Source, sink?: (s: Sink, p?: Source) => Sink): Promise<Source> {
  const parts = memoryParts('it', previous ? '2026-01-02-000000' : '2026-01-01-000000');
  await lokiDriver.open(settings).capture(liveContext(), sink?.(parts.sink, previous) ?? parts.sink, previous);
  return parts.source;
}

async function verdictOf(expected: Source, settings: object): Promise<string> {
  const ctx = liveContext();
  const actual = await lokiDriver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(lokiDriver.compare(ctx, inventoryOf(expected), actual));
  const unlike = findings.filter(({ verdict }) => verdict !== 'pass').slice(0, 3);
  for (const { check, detail } of unlike) console.info(`${check}: ${detail}`);
  return worst(findings.map(({ verdict }) => verdict));
}

async function textsOf(source: Source): Promise<string[]> {
  const lines: string[] = [];
  for await (const { name } of source.parts(liveContext(), 'lines/')) {
    const text = (await readAll(source.get(liveContext(), name))).toString();
    lines.push(
      ...text
        .trim()
        .split('\n')
        .filter((each) => each !== '')
        .map((each) => String(JSON.parse(each).line)),
    );
  }
  return lines;
}

/** Once no line waits in memory any more. */
async function writtenToStore({ url }: Place): Promise<void> {
  await fetch(`${url}/flush`, { method: 'POST' });
  await until('all is in the store', 120_000, async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return /^loki_ingester_memory_chunks 0$/m.test(metrics);
  });
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
    const told = await target.cautions?.(ctx, { base: source });
    assert.match(String(told), /refuses lines older than 5 days/);
    const { missing: left = [] } = await target.restore(ctx, { base: source });
    assert.match(left.join(), /^1 lines are older than 5 days/);
    assert.deepEqual(await textsOf(await captured({ ...at, since: '7d' })), ['old enough']);
  });

  it('come back in a sandbox as they were, and curl sees them', {
    skip: missingTools('jq', 'curl', 'split'),
  }, async () => {
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
    const seen = async (there: Place): Promise<string[]> => {
      const lines: string[] = [];
      // As many as this server gives at once.
      for (let hours = 32; hours > 0; hours -= 2) {
        const range = [`start=${nsAgo(hours * HOUR_MS)}`, `end=${nsAgo((hours - 2) * HOUR_MS)}`, 'limit=300'];
        for (const query of ['{env="prod"}', '{job="x\\"y"}'])
          lines.push(...(await curled(there, [`query=${query}`, ...range])));
      }
      return lines.sort();
    };
    const was = await seen(at);
    assert.equal(was.length, 3004);
    assert.match(was.join(), /trace_id/);
    assert.deepEqual(await seen({ url }), was);
  });

  it('are seen after a restore also where old ones are looked for in the store only', async () => {
    const at = await place();
    const ctx = liveContext();
    await fill(at);
    const source = await captured(at);
    await using strict = await startLoki({ fresh: false });
    // Which does not show its configuration.
    await using gateway = await gatewayTo(strict.url, /\/config/);
    const target = lokiDriver.open({ url: gateway.url, since: '2d' });
    const { warnings } = await target.restore(ctx, { base: source });
    assert.deepEqual(warnings, []);
    const findings = await Array.fromAsync(lokiDriver.compare(ctx, inventoryOf(source), await target.inventory(ctx)));
    assert.equal(worst(findings.map(({ verdict }) => verdict)), 'pass', JSON.stringify(findings));
    await using shut = await gatewayTo(strict.url, /\/config|\/flush/);
    const told = await lokiDriver.open({ url: shut.url, since: '2d' }).restore(ctx, { base: source }, { delta: true });
    assert.match(told.warnings.join(), /queries see lines older than 3 hours once they are in the store/);
  });

  it('come although the way to the server is bad (faults 12, 13 and 15)', async () => {
    const at = await place();
    const target = await place();
    await fill(at);
    await using proxy = await badWayTo(at.url);
    const ctx = liveContext({ sleep: async () => {} }); // how long it waits is no matter here
    const source = memoryParts();
    const by = { url: proxy.url, timeout: '3s' };
    await lokiDriver.open({ ...at, ...by }).capture(ctx, source.sink);
    const { missing: left } = await lokiDriver.open({ ...target, ...by }).restore(ctx, { base: source.source });
    assert.deepEqual(left, []);
    assert.equal(await verdictOf(source.source, target), 'pass');
    assert.ok(proxy.spoilt() >= 12);
  });

  it('that came half back when the server died are completed by another restore', async () => {
    const at = await place();
    await fill(at);
    const source = await captured(at);
    await using dying = await startLoki();
    const ctx = liveContext({ sleep: async () => {} });
    let days = 0;
    const killing: Source = {
      ...source,
      async *get(getCtx, name, range) {
        if (name.startsWith('lines/') && ++days === 2) await dying.kill();
        yield* source.get(getCtx, name, range);
      },
    };
    const target = lokiDriver.open({ url: dying.url, since: '2d' });
    await assert.rejects(target.restore(ctx, { base: killing }), { code: 'unreachable' });
    await dying.start();
    assert.notEqual(await verdictOf(source, { url: dying.url, since: '2d' }), 'pass');
    await assert.rejects(target.restore(ctx, { base: source }), { code: 'target-not-empty', hint: /--delta/ });
    await target.restore(ctx, { base: source }, { delta: true });
    assert.equal(await verdictOf(source, { url: dying.url, since: '2d' }), 'pass');
  });

  it('are not asked for, nor pushed, any more once it is stopped', async () => {
    const at = await place();
    await fill(at);
    const source = await captured(at);
    const stop = new AbortController();
    const ctx = liveContext({ signal: stop.signal, progress: () => stop.abort() });
    await assert.rejects(lokiDriver.open(await place()).restore(ctx, { base: source }), { code: 'interrupted' });
    const { sink } = memoryParts();
    await assert.rejects(lokiDriver.open(at).capture(ctx, sink), { code: 'interrupted' });
  });

  it('fail the capture when the server dies in the middle', async () => {
    await using dying = await startLoki();
    await fill({ url: dying.url });
    const killing = (sink: Sink): Sink => ({
      ...sink,
      async put(...args) {
        await dying.kill();
        return await sink.put(...args);
      },
    });
    await assert.rejects(captured({ url: dying.url, since: '2d' }, undefined, killing), { code: 'unreachable' });
  });

  it('can be restored without Lifeboat, as the page says', { skip: missingTools('jq', 'curl', 'split') }, async () => {
    const at = await place();
    const ctx = liveContext();
    await fill(at);
    const source = await captured(at);
    const dir = temporaryDir('loki-page');
    for await (const { name } of source.parts(ctx)) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), await readAll(source.get(ctx, name)));
    }
    await using target = await startLoki();
    const page = readFileSync('docs/drivers/loki.md', 'utf8');
    const script = /```sh\n(.*?)```/s.exec(page)?.[1] ?? '';
    await exec('sh', ['-e', '-c', script], { cwd: dir, env: { ...process.env, LOKI_URL: target.url } });
    removeDir(dir);
    const now = await lokiDriver.open({ url: target.url, since: '2d' }).inventory(ctx);
    const findings = await Array.fromAsync(lokiDriver.compare(ctx, inventoryOf(source), now));
    assert.equal(worst(findings.map(({ verdict }) => verdict)), 'pass', JSON.stringify(findings.slice(0, 5)));
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
    const { measure } = lokiDriver.open(at);
    assert.equal(await measure?.(ctx, 'sum(count_over_time({app=~"a|b"}[24h]))'), 3);
    assert.equal(await measure?.(ctx, 'sum(count_over_time({app="none"}[24h]))'), 0);
    await assert.rejects(
      async () => await measure?.(ctx, '{app="a"}'),
      (error) => isFailure(error),
    );
    const again = lokiDriver.open(target).restore(ctx, { base: source });
    await assert.rejects(again, { code: 'target-not-empty' });
    await assert.rejects(lokiDriver.open(target).restore(ctx, { base: source }, { select: { tables: ['x'] } }), {
      code: 'usage',
    });
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

/** Of each line: stream, time, text and structured metadata, as curl shows them. */
async function curled({ url, tenant = '' }: Place, query: readonly string[]): Promise<string[]> {
  const headers = [`X-Scope-OrgID: ${tenant}`, 'X-Loki-Response-Encoding-Flags: categorize-labels'];
  const args = [...headers.flatMap((each) => ['-H', each]), ...query.flatMap((each) => ['--data-urlencode', each])];
  const asked = await exec('curl', ['-sSfG', ...args, `${url}/loki/api/v1/query_range`], { maxBuffer: 2 ** 24 });
  const { data }: { data: { result: { stream: object; values: unknown[] }[] } } = JSON.parse(asked.stdout);
  return data.result.flatMap(({ stream, values }) => values.map((value) => JSON.stringify([stream, value])));
}

interface BadWay extends AsyncDisposable {
  readonly url: string;
  spoilt(): number;
}

/**
 * Every third request is answered with 503 or 429, not at all, in part, too late, or after it was passed on, so that
 * nobody knows whether it was taken.
 */
async function badWayTo(url: string): Promise<BadWay> {
  let requests = 0;
  let spoilt = 0;
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await Array.fromAsync(request));
    const way = ++requests % 3 === 0 ? (['503', '429', 'cut', 'half', 'late', 'lost'] as const)[spoilt++ % 6] : 'good';
    if (way === '503' || way === '429') return void response.writeHead(Number(way)).end('busy');
    if (way === 'cut') return void request.socket.destroy();
    if (way === 'late') return; // for good: it is cut by who asked
    const { host: _host, connection: _connection, 'content-length': _length, ...headers } = request.headers;
    const passed = await fetch(`${url}${request.url}`, {
      method: request.method ?? 'GET',
      headers: headers as Record<string, string>,
      ...(body.length > 0 ? { body } : {}),
    });
    const answer = Buffer.from(await passed.arrayBuffer());
    if (way === 'lost') return void request.socket.destroy();
    response.writeHead(passed.status, { 'content-length': answer.length });
    if (way !== 'half' || answer.length < 2) return void response.end(answer);
    response.write(answer.subarray(0, answer.length >> 1), () => request.socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    spoilt: () => spoilt,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}
