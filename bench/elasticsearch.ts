// Search: Lifeboat beside elasticdump, which writes documents as lines of JSON and sends them again: no mappings, and
// nothing is looked at.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type OpenSearchName, startOpenSearch } from '../test/servers/opensearch.ts';
import { prose, randomNumbers, sentence } from './data.ts';
import { type Lifeboat, lifeboatWith, resticStore } from './lifeboat.ts';
import { type Candidate, compared, type Figures, interleaved, measure, type Row, type Stage } from './measure.ts';

export interface SearchSizes {
  readonly documents: number;
  readonly rounds: number;
  readonly server: OpenSearchName;
  /** The program to compare with. */
  readonly elasticdump: string;
}

const INDEX = 'bench';
const WALL_MAX = 0.25;
const BATCH = 2000;
const VERBS = ['export', 'import'] as const;
type Verb = (typeof VERBS)[number];
/** As it comes it asks for 100 documents at a time; how it does with more is told besides. */
const PEERS = [
  { name: 'elasticdump', options: [], limits: { wall: WALL_MAX } },
  { name: `elasticdump --limit=${BATCH}`, options: [`--limit=${BATCH}`], limits: {} },
] as const;
const STORES = ['plain', 'restic'] as const;

/** Of npm, into a directory of its own, unless it is in PATH. */
export function elasticdumpIn(dir: string): string {
  const program = join(dir, 'node_modules/.bin/elasticdump');
  if (existsSync(program)) return program;
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'package.json'), '{"private":true}');
  execFileSync('npm', ['install', '--no-audit', '--no-fund', 'elasticdump@6.125.1'], { cwd: dir, stdio: 'ignore' });
  return program;
}

export async function compareWithElasticdump(
  dir: string,
  { documents, rounds, server, elasticdump }: SearchSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using search = await startOpenSearch(server, { heap: '1g' });
  const { url } = search;
  say(`filling ${server}`);
  await makeIndex(url, INDEX);
  await fill(url, documents);
  const digest = await digestOf(url, INDEX);
  const isBack = async (index: string): Promise<void> => {
    await ask(url, 'POST', `/${index}/_refresh`);
    assert.equal((await ask(url, 'GET', `/${index}/_count`)).count, documents);
    assert.equal(await digestOf(url, index), digest, `${index} is what was exported`);
    await ask(url, 'DELETE', `/${index}`);
  };
  const file = join(dir, 'theirs.json');
  const stages = (): Stage[] => {
    const ours = STORES.map((store) => ({ store, place: join(dir, store), run: null as Lifeboat | null }));
    const exports = ours.map((each): Candidate => {
      return {
        name: nameOf('export', each.store),
        async run() {
          each.run = await configured(each, url);
          return await each.run(['backup']);
        },
      };
    });
    const imports = ours.map((each): Candidate => {
      const back = `${each.store}-back`;
      return {
        name: nameOf('import', each.store),
        async run() {
          if (!each.run) throw new Error('there is no backup to restore');
          const figures = await each.run(['restore', 'latest', '--yes', '--rename', `${INDEX}=${back}`]);
          await isBack(back);
          return figures;
        },
      };
    });
    const dump = (options: readonly string[], input: string, output: string): Promise<Figures> =>
      measure(elasticdump, [`--input=${input}`, `--output=${output}`, '--type=data', ...options], process.env);
    const theirs = PEERS.map(({ name, options }): Readonly<Record<Verb, Candidate>> => {
      return {
        export: {
          name: `${name} export`,
          async run() {
            rmSync(file, { force: true });
            return await dump(options, `${url}/${INDEX}`, file);
          },
        },
        import: {
          name: `${name} import`,
          async run() {
            await makeIndex(url, 'theirs-back');
            const figures = await dump(options, file, `${url}/theirs-back`);
            await isBack('theirs-back');
            return figures;
          },
        },
      };
    });
    const clear = (): void => {
      for (const place of [file, ...ours.map((each) => each.place)]) rmSync(place, { recursive: true, force: true });
    };
    return [
      { before: clear, candidates: [...theirs.map((each) => each.export), ...exports] },
      { candidates: [...theirs.map((each) => each.import), ...imports] },
    ];
  };
  const taken = await interleaved(rounds, stages, say);
  const size = `${documents.toLocaleString('en')} documents`;
  return STORES.flatMap((store) =>
    VERBS.flatMap((verb) => {
      const name = nameOf(verb, store);
      return PEERS.map(({ name: peer, limits }) =>
        compared(taken, `${name}, ${size}`, { ours: name, theirs: `${peer} ${verb}`, limits }),
      );
    }),
  );
}

function nameOf(verb: Verb, store: string): string {
  return `Search ${verb}, ${store} store`;
}

async function configured({ store, place }: { store: string; place: string }, url: string): Promise<Lifeboat> {
  mkdirSync(place);
  const bucket = join(place, 'store');
  return await lifeboatWith(join(place, 'lifeboat.yaml'), {
    store: store === 'plain' ? { format: 'plain', layout: 'dated', bucket } : resticStore(bucket),
    component: { kind: 'elasticsearch', url, indices: [INDEX] },
  });
}

async function makeIndex(url: string, index: string): Promise<void> {
  await ask(url, 'PUT', `/${index}`, {
    settings: { number_of_shards: 2, number_of_replicas: 0 },
    mappings: { properties: { sku: { type: 'keyword' }, price: { type: 'double' }, at: { type: 'date' } } },
  });
}

/** Products of a shop: about half a kilobyte each. */
async function fill(url: string, documents: number): Promise<void> {
  const random = randomNumbers('bench');
  const lines = Array.from({ length: 2000 }, () => sentence(9, random));
  for (let from = 0; from < documents; from += BATCH) {
    const body: string[] = [];
    for (let n = from; n < Math.min(from + BATCH, documents); n++) {
      const product = { sku: `s${n}`, name: sentence(4, random), text: prose(320, lines, random), price: n / 4 };
      const more = {
        at: 1_700_000_000_000 + n * 1000,
        stock: { here: n % 9, there: n % 5 },
        tags: ['a', `t${n % 50}`],
      };
      body.push(JSON.stringify({ index: { _id: `p${n}` } }), JSON.stringify({ ...product, ...more }));
    }
    const { errors } = await ask(url, 'POST', `/${INDEX}/_bulk`, `${body.join('\n')}\n`);
    assert.equal(errors, false);
  }
  await ask(url, 'POST', `/${INDEX}/_refresh`);
}

/** Over ids and documents as anybody sees them, whatever their order. */
async function digestOf(url: string, index: string): Promise<string> {
  const sum = new Uint32Array(8);
  let after: unknown;
  for (;;) {
    const query = { size: 5000, sort: [{ sku: 'asc' }], ...(after !== undefined && { search_after: after }) };
    const { hits } = (await ask(url, 'POST', `/${index}/_search`, query)) as {
      hits: { hits: { _id: string; _source: unknown; sort: unknown }[] };
    };
    for (const { _id, _source } of hits.hits) {
      const digest = createHash('sha256')
        .update(JSON.stringify([_id, _source]))
        .digest();
      for (let lane = 0; lane < 8; lane++) sum[lane] = (sum[lane] ?? 0) + digest.readUInt32LE(lane * 4);
    }
    if (hits.hits.length === 0) return sum.join(' ');
    after = hits.hits.at(-1)?.sort;
  }
}

async function ask(url: string, method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const text = typeof body === 'string' ? body : body === undefined ? null : JSON.stringify(body);
  const reply = await fetch(url + path, { method, body: text, headers: { 'content-type': 'application/json' } });
  const said = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${said.slice(0, 300)}`);
  return JSON.parse(said) as Record<string, unknown>;
}
