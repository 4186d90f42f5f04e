// Loki: Lifeboat beside logcli, which writes lines to a file, and a plain loop that pushes them again. Neither compares
// anything; a restore of ours reads all of it back.

import assert from 'node:assert/strict';
import { createReadStream, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { liveContext } from '../src/core/testing.ts';
import { lokiDriver } from '../src/drivers/loki/driver.ts';
import { type Pushed, push } from '../src/drivers/loki/testing.ts';
import { installed } from '../test/servers/install.ts';
import { type Loki, startLoki } from '../test/servers/loki.ts';
import { randomNumbers, sentence } from './data.ts';
import { type Lifeboat, lifeboatWith, resticStore } from './lifeboat.ts';
import { type Candidate, compared, interleaved, measure, type Row, type Stage } from './measure.ts';

export interface LokiSizes {
  readonly lines: number;
  readonly rounds: number;
}

const HOUR_MS = 3_600_000;
/** Over so long a time, which ended an hour ago. */
const HOURS = 24;
const STREAMS = 20;
const PUSH_LINES = 5000;
const TENANT = 'bench';
const PEERS = { capture: 'logcli query', restore: 'a plain loop of pushes' } as const;
/** A restore reads all of it back, which the loop does not: the ratio is told, and nothing is demanded of it. */
const LIMITS = { capture: { wall: 0.6 }, restore: {} } as const;
const LOOP = fileURLToPath(new URL('loki-push.ts', import.meta.url));
const STORES = ['plain', 'restic'] as const;
type Verb = keyof typeof PEERS;

function nameOf(verb: Verb, store: string): string {
  return `Loki ${verb}, ${store} store`;
}

export async function compareWithLogcli(
  dir: string,
  { lines, rounds }: LokiSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using loki = await startLoki({ tenants: true, limits: FREELY });
  say('filling Loki');
  const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS;
  await fill(loki, { lines, endMs });
  const file = join(dir, 'theirs.jsonl');
  const theirs = await tools(loki, { file, lines, endMs });
  let places = 0;
  const stages = (): Stage[] => {
    const ours = STORES.map((store) => ({ store, place: join(dir, store), run: null as Lifeboat | null }));
    const captures = ours.map(
      (each): Candidate => ({
        name: nameOf('capture', each.store),
        async run() {
          each.run = await configured(each, loki);
          return await each.run(['backup']);
        },
      }),
    );
    const restores = ours.map(
      (each): Candidate => ({
        name: nameOf('restore', each.store),
        async run() {
          if (!each.run) throw new Error('there is no backup to restore');
          await using target = await startLoki({ tenants: true, limits: FREELY });
          const figures = await each.run(['restore', 'latest', '--yes', '--to', `data=${target.url}`]);
          assert.deepEqual(await digestsOf(target), await digestsOf(loki), 'our lines came back');
          return figures;
        },
      }),
    );
    const again: Candidate = {
      name: PEERS.restore,
      async run() {
        const tenant = `back-${++places}`;
        return await measure(process.execPath, [LOOP, loki.url, tenant, file], process.env);
      },
    };
    const clear = (): void => {
      for (const { place } of ours) rmSync(place, { recursive: true, force: true });
    };
    return [{ before: clear, candidates: [theirs, ...captures] }, { candidates: [again, ...restores] }];
  };
  const taken = await interleaved(rounds, stages, say);
  const size = `${lines.toLocaleString('en')} lines`;
  return STORES.flatMap((store) =>
    (['capture', 'restore'] as const).map((verb) => {
      const name = nameOf(verb, store);
      return compared(taken, `${name}, ${size}`, { ours: name, theirs: PEERS[verb], limits: LIMITS[verb] });
    }),
  );
}

/** How much is given at once is what a Loki gives by default. */
const FREELY = [
  'ingestion_rate_mb: 1024',
  'ingestion_burst_size_mb: 1024',
  'per_stream_rate_limit: 1GB',
  'per_stream_rate_limit_burst: 1GB',
];

async function configured({ store, place }: { store: string; place: string }, { url }: Loki): Promise<Lifeboat> {
  mkdirSync(place);
  const bucket = join(place, 'store');
  return await lifeboatWith(join(place, 'lifeboat.yaml'), {
    store: store === 'plain' ? { format: 'plain', layout: 'dated', bucket } : resticStore(bucket),
    component: { kind: 'loki', url, tenant: TENANT, since: '2d' },
  });
}

interface Filled {
  readonly lines: number;
  readonly endMs: number;
}

/** As many lines as its users ask for at once; what it wrote is counted. */
async function tools({ url }: Loki, { file, lines, endMs }: Filled & { readonly file: string }): Promise<Candidate> {
  const [from, to] = [endMs - HOURS * HOUR_MS, endMs + 1000].map((ms) => new Date(ms).toISOString());
  const program = await installed('logcli');
  const range = ['--from', from ?? '', '--to', to ?? '', '--forward', '--limit', `${lines + 1}`, '--batch', '5000'];
  const args = [`--addr=${url}`, `--org-id=${TENANT}`, '-q', 'query', '{app=~".+"}', ...range, '--output', 'jsonl'];
  return {
    name: PEERS.capture,
    async run() {
      const figures = await measure('/bin/sh', ['-c', `exec "$@" > '${file}'`, 'sh', program, ...args], process.env);
      let written = 0;
      for await (const _ of createInterface({ input: createReadStream(file) })) written += 1;
      assert.equal(written, lines, 'logcli wrote all lines');
      return figures;
    },
  };
}

async function digestsOf({ url }: Loki): Promise<readonly object[]> {
  const inventory = await lokiDriver.open({ url, tenant: TENANT, since: '2d' }).inventory(liveContext());
  const all = await Array.fromAsync(inventory.lines(liveContext()));
  return all.filter(({ kind }) => kind === 'stream').map(({ name, count, digest }) => ({ name, count, digest }));
}

/** About 130 characters each, evenly over the time and the streams; one in ten has structured metadata. */
async function fill({ url }: Loki, { lines, endMs }: Filled): Promise<void> {
  const random = randomNumbers('loki');
  const texts = Array.from({ length: 2000 }, () => sentence(14, random));
  const beginNs = BigInt(endMs - HOURS * HOUR_MS) * 1_000_000n;
  const stepNs = (BigInt(HOURS * HOUR_MS) * 1_000_000n) / BigInt(lines);
  const streamOf = (n: number): Pushed['stream'] => ({
    app: ['shop', 'search', 'mail', 'stock'][n % 4] ?? '',
    pod: `pod-${n}`,
    env: 'prod',
  });
  for (let at = 0; at < lines; at += PUSH_LINES) {
    const values = Array.from({ length: STREAMS }, (): Pushed['values'][number][] => []);
    for (let n = at; n < Math.min(lines, at + PUSH_LINES); n++) {
      const ts = `${beginNs + BigInt(n) * stepNs}`;
      const line = `level=${n % 17 === 0 ? 'error' : 'info'} request=${n} ${texts[(n * 31) % texts.length]}`;
      values[n % STREAMS]?.push(n % 10 === 0 ? [ts, line, { trace_id: `${n}`.padStart(16, '0') }] : [ts, line]);
    }
    const streams = values
      .map((each, n) => ({ stream: streamOf(n), values: each }))
      .filter((each) => each.values.length);
    await push({ url, tenant: TENANT }, streams); // one after another: what lies an hour behind is refused
  }
}
