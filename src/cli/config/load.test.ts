import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { configText } from '../init/template.ts';
import { loadConfig, parseConfig } from './load.ts';
import type { Config } from './model.ts';

const GOOD = `stack: shop
stores:
  local: { format: restic, bucket: /backup/a, password: "\${env:STORE_PASSWORD}" }
  dated: { format: plain, layout: dated, bucket: s3://shop-backups/prod, region: us-east-1 }
components:
  main-db: { kind: postgresql, host: db, user: backup, databases: [shop], tier: critical }
  cache: { kind: redis, url: redis://cache:6379, restore_after: [main-db] }
tiers:
  critical: { rto: 1h, rpo: 15m }
plans:
  nightly: { schedule: "0 2 * * *", to: [local], keep: { local: { within: 30d } } }
`;

async function passwordOf(ctx: Context, config: Config): Promise<unknown> {
  const settings = await config.stores[0]?.settings(ctx);
  const format = z.object({ password: z.string() }).parse(settings?.format);
  return format.password;
}

test('a right configuration becomes exact types', async () => {
  const ctx = testContext({ env: { STORE_PASSWORD: 'sesame' } });
  const config = await parseConfig(ctx, GOOD, 'lifeboat.yaml');
  assert.deepEqual(
    config.stores.map(({ name }) => name),
    ['local', 'dated'],
  );
  assert.deepEqual(config.tiers.critical, { rto: 3_600_000, rpo: 900_000 });
  assert.equal(await passwordOf(ctx, config), 'sesame');
});

test('what a placeholder stands for is judged when it is known: an address, a choice', async () => {
  const places = `objects: { kind: s3, endpoint: "\${env:S3}", buckets: [uploads] }\n  search: { kind: elasticsearch, url: "http://search:9200", inventory: "\${env:LEVEL}" }`;
  const text = GOOD.replace('region: us-east-1', `endpoint: "\${env:S3}"`).replace('cache: {', `${places}\n  cache: {`);
  const config = await parseConfig(testContext(), text, 'lifeboat.yaml');
  const objects = config.components.find(({ name }) => name === 'objects');
  const known = testContext({ env: { S3: 'http://minio:9000' } });
  assert.deepEqual(await objects?.settings(known), { endpoint: 'http://minio:9000', buckets: ['uploads'] });
  await assert.rejects(async () => await objects?.settings(testContext({ env: { S3: 'minio' } })), /objects\.endpoint/);
  const misspelt = text.replace('inventory:', 'inventori:');
  await assert.rejects(parseConfig(testContext(), misspelt, 'lifeboat.yaml'), /inventori: this key is not known/);
});

test('a secret is asked for only when its store is used', async () => {
  const ctx = testContext({ env: { STORE_PASSWORT: 'x' } });
  const config = await parseConfig(ctx, GOOD, 'lifeboat.yaml');
  await assert.rejects(
    async () => await config.stores[0]?.settings(ctx),
    (error) => {
      assert.ok(isFailure(error, 'settings-invalid'));
      assert.match(error.message, /stores\.local\.password: the variable STORE_PASSWORD is not set/);
      assert.equal(error.hint, 'did you mean STORE_PASSWORT?');
      return true;
    },
  );
});

const WRONG: readonly [title: string, change: (text: string) => string, message: RegExp, hint?: RegExp][] = [
  [
    'YAML that is none, with its line',
    (t) => t.replace('stack: shop', 'stack: [shop'),
    /lifeboat\.yaml:\d+:\d+: [\s\S]*\d \| /,
  ],
  [
    'a reference without quotes within braces',
    (t) => t.replace('stack: shop', `stack: shop\ntiers: { a: \${env:A} }`),
    /lifeboat\.yaml:2:\d+: /,
    /needs quotes: "\$\{env:NAME\}"/,
  ],
  [
    'two components of one name',
    (t) => t.replace('cache:', 'main-db:'),
    /lifeboat\.yaml:7:.*two entries have this name/,
  ],
  [
    'an unknown key',
    (t) => t.replace('stack: shop', 'stack: shop\nplanz: {}'),
    /:2: planz: this key is not known/,
    /plans/,
  ],
  ['an unknown key of a component', (t) => t.replace('host: db', 'hots: db'), /:6: components\.main-db\.hots/, /host/],
  ['an unknown key of a store', (t) => t.replace('password:', 'pasword:'), /:3: stores\.local\.pasword/, /password/],
  ['an unknown key of a plan', (t) => t.replace('schedule:', 'shedule:'), /:11: plans\.nightly\.shedule/, /schedule/],
  ['a wrong type', (t) => t.replace('databases: [shop]', 'databases: 7'), /:6: components\.main-db\.databases/],
  ['a kind that is none', (t) => t.replace('kind: redis', 'kind: reddis'), /:7: components\.cache\.kind/, /redis/],
  [
    'a format that is none',
    (t) => t.replace('format: restic', 'format: rustic'),
    /:3: stores\.local\.format/,
    /restic/,
  ],
  ['a duration that is none', (t) => t.replace('rto: 1h', 'rto: soon'), /:9: tiers\.critical\.rto: a duration such as/],
  ['a plan without components', (t) => t.replace('to: [local]', 'components: []'), /:11: plans\.nightly\.components/],
  [
    'a schedule that is none',
    (t) => t.replace('0 2 * * *', '0 26 * * *'),
    /:11: plans\.nightly\.schedule: the schedule/,
  ],
  ['a store that is not there', (t) => t.replace('to: [local]', 'to: [lokal]'), /there is no store lokal/, /local/],
  [
    'a component that is not there',
    (t) => t.replace('[main-db]', '[main-dp]'),
    /there is no component main-dp/,
    /main-db/,
  ],
  ['a tier that is not there', (t) => t.replace('tier: critical', 'tier: crit'), /there is no tier crit/],
  [
    'a circle',
    (t) => t.replace('tier: critical', 'restore_after: [cache]'),
    /a circle: main-db after cache after main-db/,
  ],
  [
    'a circle of references where what is pointed to is captured last',
    (t) => `${t.replace('plans:\n', 'plans:\n  ordered: { ordering: references_first }\n')}references:
  - { name: a, from: { component: main-db, sql: select 1 }, to: { component: cache, in: "*" } }
  - { name: b, from: { component: cache, sql: select 1 }, to: { component: main-db, in: x } }
`,
    /plans\.ordered\.ordering: references go in a circle: main-db points to cache points to main-db/,
  ],
  [
    "a store in another store's folder",
    (t) => t.replace('s3://shop-backups/prod, region: us-east-1', '/backup/a/b'),
    /lies within store local/,
  ],
  [
    'two stores at one place',
    (t) => t.replace('s3://shop-backups/prod, region: us-east-1', '/backup/a/'),
    /is the same place as store/,
  ],
  [
    'a secret of an unknown kind',
    (t) => t.replace('host: db', `host: "\${evn:X}"`),
    /:6: components\.main-db\.host: \$\{evn:…\} is not known/,
    /\{env:/,
  ],
  [
    'a key that is missing',
    (t) => t.replace('format: restic, ', ''),
    /:3: stores\.local\.format: this key is missing$/,
  ],
  [
    'a missing key that is misspelt',
    (t) => t.replace('kind: redis', 'knid: redis'),
    /:7: .*knid: this key is not/,
    /kind/,
  ],
  [
    'the same of a store',
    (t) => t.replace('bucket: /backup/a', 'bukket: /backup/a'),
    /:3: .*bukket: this key/,
    /bucket/,
  ],
];

for (const [title, change, message, hint] of WRONG) {
  test(`${title} is a clear error`, async () => {
    const ctx = testContext({ env: {} });
    const text = change(GOOD);
    assert.notEqual(text, GOOD);
    await assert.rejects(parseConfig(ctx, text, 'lifeboat.yaml'), (error) => {
      assert.ok(isFailure(error, 'settings-invalid'), String(error));
      assert.match(error.message, message);
      if (hint) assert.match(error.hint ?? '', hint);
      return true;
    });
  });
}

test('a missing configuration says where it was looked for and what to do', async () => {
  const ctx = testContext();
  const file = join(ctx.scratch, 'none.yaml');
  await assert.rejects(loadConfig(ctx, file), {
    code: 'settings-invalid',
    message: `there is no configuration at ${file}`,
  });
});

test('what init writes is a right configuration', async () => {
  const ctx = testContext({ env: { DATABASE_URL: 'postgresql://u@db/shop' } });
  const passwordFile = join(ctx.scratch, 'password');
  writeFileSync(passwordFile, 'sesame\n');
  const text = configText({
    stack: 'shop',
    storeUrl: '/backup/lifeboat',
    endpoint: undefined,
    passwordFile,
    components: [
      { name: 'main-db', kind: 'postgresql', settings: { url: `\${env:DATABASE_URL}` }, from: 'DATABASE_URL' },
    ],
  });
  const config = await parseConfig(ctx, text, 'lifeboat.yaml');
  assert.deepEqual(await config.components[0]?.settings(ctx), { url: 'postgresql://u@db/shop' });
  assert.equal(await passwordOf(ctx, config), 'sesame');
});

test('a drill that replays a log says where to, in words that it can mean', async () => {
  const drill = async (text: string): Promise<Config['drills'][string] | undefined> => {
    const config = await parseConfig(testContext(), `${GOOD}drills:\n  weekly: ${text}\n`, 'a.yaml');
    return config.drills.weekly;
  };
  for (const until of ['latest', 'immediate', 'cut=latest', 'cut=2026-01-01-000000']) {
    assert.equal((await drill(`{ until: ${until} }`))?.until, until);
  }
  assert.equal((await drill('{ until: lsn=0/1, components: [main-db] }'))?.until, 'lsn=0/1');
  assert.equal((await drill('{ until: cut=latest, point: latest }'))?.point, 'latest');
  assert.equal((await drill('{ until: latest, point: latest-proved }'))?.point, 'latest-proved');
  const refused: readonly (readonly [text: string, message: RegExp])[] = [
    ['{ until: 15m ago }', /^a.yaml:13: drills\.weekly\.until: where a replay ends: 'latest', .* or cut=POINT$/],
    ['{ until: cut= }', /drills\.weekly\.until: where a replay ends/],
    ['{ until: size=8 }', /drills\.weekly\.until: where a replay ends/],
    ['{ until: 8 }', /drills\.weekly\.until: expected string/],
    ['{ until: latest, at: 15m ago }', /drills\.weekly: either at or until$/],
    ['{ point: latest, at: 15m ago }', /drills\.weekly: either a point or a time$/],
    ['{ until: cut=latest, point: latest-proved }', /drills\.weekly\.point: until: cut=latest finds its point by/],
    ['{ until: lsn=0/1 }', /drills\.weekly\.until: lsn=0\/1 is in the words of one component$/],
    [
      '{ until: xid=7, components: [main-db, cache] }',
      /drills\.weekly\.until: xid=7 is in the words of one component$/,
    ],
  ];
  for (const [text, message] of refused) await assert.rejects(drill(text), { code: 'settings-invalid', message }, text);
});
