// Back to the second before a mistake: a shop writes to PostgreSQL and Redis without a pause, lifeboat follow runs
// beside it, and at a random moment somebody drops a table and flushes the keys. What comes back is held against the
// shop's own record of what was acknowledged, and the loss is measured by markers.

import { spawn, spawnSync } from 'node:child_process';
import { chownSync, createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { unprivilegedUser } from '../test/servers/install.ts';
import { startPostgres, startPostgresOn } from '../test/servers/postgres.ts';
import { until } from '../test/servers/processes.ts';
import { startRedis } from '../test/servers/redis.ts';
import { withDatabase } from './shop.ts';
import { lifeboat, say, seconds, stageIn, title } from './stage.ts';
import { dropAndFlush, isRecovering, makeShop, ordersIn, type Sent, startWorkload } from './workload.ts';

const MAJOR = 17;
const SOON_MS = 60_000;
/** The mistake happens at some time within these, after following has begun. */
const CALM_MS = { min: 5_000, max: 15_000 };
/** Until somebody has noticed. */
const NOTICED_MS = 3_000;
/** How much earlier than the mistake everything is wanted back. */
const BEFORE_MS = 1_000;
/** An order that is under way at that very moment may be there or not; clocks and arrival are measured to less. */
const EDGE_MS = 100;

const stage = stageIn('demo/out');
const { out, run } = stage;
const seed = seedFrom(process.argv);
say(`seed ${seed}: run again with npm run demo -- --pitr --seed ${seed}`);

title('1. Real servers, and a shop that never rests');
await using stack = new AsyncDisposableStack();
const [postgres, redis] = await Promise.all([
  startPostgres(MAJOR).then((server) => stack.use(server)),
  startRedis('redis-8').then((server) => stack.use(server)),
]);
const shopUrl = withDatabase(postgres.url, 'shop');
await makeShop(postgres.url, shopUrl);
say(`PostgreSQL ${MAJOR} on port ${postgres.port}, Redis 8 on port ${redis.port}`);
stage.env = {
  PATH: [postgres.bin, dirname(redis.program), process.env.PATH].join(delimiter),
  SHOP_DB: shopUrl,
  SHOP_CACHE: redis.url,
};
configure();
await run(['init', '--yes'], 'init');
const workload = await startWorkload(shopUrl, redis.url);
stack.defer(() => workload.stop());

title('2. lifeboat follow runs beside it, with a marker every second');
const follow = startFollowing();
stack.defer(() => follow.stop());
await stage.timed('until any moment can be recovered', () => until('a window', SOON_MS, isCovered));
await run(['status'], 'status');

title('3. At a random moment somebody drops a table and flushes the keys');
await sleep(CALM_MS.min + random(seed) * (CALM_MS.max - CALM_MS.min));
const mistakeMs = Date.now();
await dropAndFlush(shopUrl, redis.url);
const wanted = new Date(mistakeMs - BEFORE_MS);
await sleep(NOTICED_MS);
await workload.stop();
await follow.stop();
say(`the mistake was made at ${new Date(mistakeMs).toISOString()}, and noticed ${seconds(NOTICED_MS)} later`);
await run(['markers'], 'markers that were written');

title(`4. Back to ${wanted.toISOString()}, ${seconds(BEFORE_MS)} before it`);
const fresh = stack.use(await startRedis('redis-8'));
const directory = emptyDirectory('recovered');
const targets = ['--to', `main-db=${directory}`, '--to', `cache=${fresh.url}`];
await run(['restore', '--at', wanted.toISOString(), ...targets, '--yes'], 'restore both to one moment');
readableFor(unprivilegedUser());
const recovered = await stage.timed('a server on it replays its log', async () => {
  const server = stack.use(await startPostgresOn(MAJOR, directory));
  await until('the end of recovery', SOON_MS, async () => !(await isRecovering(server.url)));
  return server;
});

title("5. Held against the shop's own record");
const there = await ordersIn(withDatabase(recovered.url, 'shop'), fresh.url);
judge('PostgreSQL', workload.record.database, there.database);
judge('Redis', workload.record.cache, there.cache);

title('6. The loss, measured by the markers that came back');
stage.env = { ...stage.env, SHOP_DB: withDatabase(recovered.url, 'shop'), SHOP_CACHE: fresh.url };
await run(['markers'], 'markers that came back');
await run(['drill', '--at', wanted.toISOString(), '--evidence', 'drill.json'], 'the same as a drill, in sandboxes', 3);

for (const { name, marker } of lossesIn('drill.json')) {
  if (!marker) throw new Error(`no marker came back with ${name}`);
  stage.note(`${name}: lost of the time before ${wanted.toISOString()}, by its marker`, seconds(marker.lost_ms));
}

title('What it took');
stage.sum();
say(
  `\nLook at: ${join(out, 'lifeboat.yaml')}, ${join(out, 'follow.log')}, ${join(out, 'drill.json')}, ${join(out, 'store')}`,
);
say('Nothing is left running.');

function configure(): void {
  const follow = 'follow: true, markers: 1s';
  const yaml = `stack: demo-shop
stores:
  local: { format: restic, bucket: ./store, password: "\${file:./lifeboat.password}" }
components:
  main-db: { kind: postgresql, url: "\${env:SHOP_DB}", capture: [physical], ${follow} }
  cache:   { kind: redis, url: "\${env:SHOP_CACHE}", ${follow} }
`;
  writeFileSync(join(out, 'lifeboat.yaml'), yaml);
  writeFileSync(join(out, 'lifeboat.password'), 'a password for this demonstration only\n', { mode: 0o600 });
  say(yaml.trimEnd());
}

/** As a service would run it. */
function startFollowing(): { stop(): Promise<void> } {
  say('\n$ lifeboat follow &');
  const log = createWriteStream(join(out, 'follow.log'));
  const child = spawn(lifeboat, ['follow'], { cwd: out, env: { ...process.env, ...stage.env } });
  child.stdout.pipe(log);
  child.stderr.pipe(log, { end: false });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return {
    async stop() {
      if (child.exitCode === null) child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Both can be brought to one moment. */
async function isCovered(): Promise<boolean> {
  const { recoverable_stack: all } = (await stage.asked(['status', '--json'])) as Status;
  return all.some(
    ({ windows, by_points: byPoints, without }) => windows.length > 0 && [...byPoints, ...without].length === 0,
  );
}
interface Status {
  readonly recoverable_stack: readonly {
    readonly windows: readonly unknown[];
    readonly by_points: readonly string[];
    readonly without: readonly string[];
  }[];
}

/** PostgreSQL does not run as root: the directory is its user's. */
function emptyDirectory(name: string): string {
  const path = join(out, name);
  mkdirSync(path, { mode: 0o700 });
  const owner = unprivilegedUser();
  if (owner) chownSync(path, owner.uid, owner.gid);
  return path;
}

/** The server fetches its log from the store by itself, and runs as another user than root. */
function readableFor(owner: ReturnType<typeof unprivilegedUser>): void {
  if (!owner) return;
  const changed = spawnSync('chown', ['-R', `${owner.uid}:${owner.gid}`, out], { encoding: 'utf8' });
  if (changed.status !== 0) throw new Error(`chown: ${changed.stderr}`);
}

interface Losses {
  readonly components: readonly { readonly name: string; readonly marker: { readonly lost_ms: number } | null }[];
}
function lossesIn(evidence: string): Losses['components'] {
  return (JSON.parse(readFileSync(join(out, evidence), 'utf8')) as Losses).components;
}

function judge(name: string, record: readonly Sent[], there: ReadonlySet<number>): void {
  const [early, late] = [wanted.getTime() - EDGE_MS, wanted.getTime() + EDGE_MS];
  const before = record.filter(({ ackedMs }) => ackedMs <= early);
  const after = record.filter(({ sentMs }) => sentMs >= late);
  const lost = before.filter(({ id }) => !there.has(id)).length;
  const tooLate = after.filter(({ id }) => there.has(id)).length;
  const made = `${before.length} orders acknowledged before, ${lost} of them missing`;
  say(`${name}: ${made}; ${after.length} sent after, ${tooLate} of them there`);
  stage.note(`${name}: orders that came back, by its own record`, `${before.length - lost} of ${before.length}`);
  if (before.length === 0 || after.length === 0) throw new Error(`${name}: the record tells nothing`);
  if (lost + tooLate > 0) throw new Error(`${name}: what came back is not what was there at that moment`);
}

function seedFrom(argv: readonly string[]): number {
  const at = argv.indexOf('--seed');
  return at < 0 ? Math.floor(Math.random() * 2 ** 31) : Number(argv[at + 1]);
}

/** From 0 to 1, the same for the same seed. */
function random(from: number): number {
  return (Math.imul(from ^ (from >>> 15), 0x2c1b3c6d) >>> 0) / 2 ** 32;
}
