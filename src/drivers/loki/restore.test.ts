import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { installed } from '../../../test/servers/install.ts';
import { startLoki } from '../../../test/servers/loki.ts';
import { missing, missingTools } from '../../../test/servers/need.ts';
import { removeDir, temporaryDir } from '../../../test/servers/processes.ts';
import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Source } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { selectionFindings } from '../selection-testing.ts';
import { lokiDriver } from './driver.ts';
import { captured, HOUR_MS, noon, place, textsOf, verdictOf } from './stage-testing.ts';
import { fill, gatewayTo, nsAgo, type Place, push } from './testing.ts';

const exec = promisify(execFile);
const skip = await missing('loki-3');
describe('the lines of a Loki', { skip }, () => {
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

  it('are compared where whole days of streams were chosen, and nothing else is looked at', async () => {
    const [at, target] = [await place(), await place()];
    const ctx = liveContext();
    const stream = { app: 'a', path: 'x"y={b="c"}' };
    for (const daysAgo of [3, 2, 1]) {
      await push(at, [
        { stream, values: [[noon(daysAgo), `a ${daysAgo}`]] },
        { stream: { app: 'b' }, values: [[noon(daysAgo), `b ${daysAgo}`]] },
      ]);
    }
    const source = await captured({ ...at, since: '4d' });
    const midnight = (daysAgo: number): string =>
      `${new Date(Number(BigInt(noon(daysAgo)) / 1_000_000n)).toISOString().slice(0, 10)}T00:00:00Z`;
    const select = { streams: '{app="a"}', since: midnight(2) };
    const done = await lokiDriver.open(target).restore(ctx, { base: source }, { select });
    assert.equal(done.selected?.uncompared, null);
    const told = async (): Promise<string[]> => {
      const findings = await selectionFindings(ctx, lokiDriver, source, done);
      return findings.map(({ verdict, detail }) => `${verdict}: ${detail}`);
    };
    assert.deepEqual(await told(), ['pass: 2 lines of 2 streams and days, equal digests']);
    await push(target, [{ stream: { app: 'b' }, values: [[noon(1), 'of somebody else']] }]);
    assert.deepEqual(await told(), ['pass: 2 lines of 2 streams and days, equal digests']);
    await push(target, [{ stream, values: [[noon(1, 2), 'more']] }]);
    assert.deepEqual(await told(), ['fail: 1 at the cut, 2 now', 'pass: 1 lines of 1 streams and days, equal digests']);
    const byService = { select: { streams: '{service_name="b"}' } };
    const other = await lokiDriver.open(await place()).restore(ctx, { base: source }, byService);
    assert.match(other.selected?.uncompared ?? '', /service_name/);
    const none = { select: { streams: '{app="none"}' } };
    await assert.rejects(lokiDriver.open(await place()).restore(ctx, { base: source }, none), { code: 'missing' });
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
    const part = { select: { streams: '{app=~"a|x"}', since } };
    const done = await lokiDriver.open(target).restore(ctx, { base: source }, part);
    assert.match(done.selected?.uncompared ?? '', /^lines of days of which a part was chosen/);
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
});

/** Of each line: stream, time, text and structured metadata, as curl shows them. */
async function curled({ url, tenant = '' }: Place, query: readonly string[]): Promise<string[]> {
  const headers = [`X-Scope-OrgID: ${tenant}`, 'X-Loki-Response-Encoding-Flags: categorize-labels'];
  const args = [...headers.flatMap((each) => ['-H', each]), ...query.flatMap((each) => ['--data-urlencode', each])];
  const asked = await exec('curl', ['-sSfG', ...args, `${url}/loki/api/v1/query_range`], { maxBuffer: 2 ** 24 });
  const { data }: { data: { result: { stream: object; values: unknown[] }[] } } = JSON.parse(asked.stdout);
  return data.result.flatMap(({ stream, values }) => values.map((value) => JSON.stringify([stream, value])));
}
