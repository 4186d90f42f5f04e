// The same repository through S3: stock restic by its own S3 code, we by ours.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type S3Server, startS3 } from '../../../test/servers/s3.ts';
import { s3Bucket } from '../../buckets/s3/bucket.ts';
import { readAll } from '../../core/bytes.ts';
import { liveContext } from '../../core/testing.ts';
import { findings, noise, P1, P2, save } from '../suite/rig.suite.ts';
import { type Place, type Program, stock, stockFiles, stockPrograms } from './stock-testing.ts';
import { createStore, GRACE, openStore, readParts } from './testing.ts';

const ctx = liveContext();
const SERVER = 'versitygw';
const CONTENTS = { db: { 'shop.dump': noise(1, 3_000_000), 'globals.sql': 'create role x;', empty: '' } };

let server: Promise<S3Server> | undefined;
after(async () => await (await server)?.[Symbol.asyncDispose]());

const [program] = await stockPrograms(); // the newest
const options = { skip: program.missing || (await missing(SERVER)) };

test(`${program.name} checks and restores through S3 what we wrote there`, options, async () => {
  await using place = await s3Place(program, 'ours');
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  await save(ctx, store, P1, CONTENTS);
  await place.restic('check', '--read-data');
  const target = join(place.dir, 'out');
  await place.restic('restore', 'latest', '--target', target);
  assert.ok((await readFile(join(target, 'db/shop.dump'))).equals(CONTENTS.db['shop.dump']));
  assert.equal(await readFile(join(target, 'db/globals.sql'), 'utf8'), CONTENTS.db['globals.sql']);
  assert.equal(JSON.parse(await place.restic('dump', 'latest', '/manifest.json')).id, P1);
});

test(`we restore through S3 what ${program.name} wrote there, and both go on in turn`, options, async () => {
  await using place = await s3Place(program, 'theirs');
  await place.restic('init');
  const source = await stockFiles(place);
  await place.restic('backup', source);
  await using store = await openStore(ctx, place.bucket);
  const [snapshot] = await store.snapshots(ctx);
  const files = await store.openSnapshot(ctx, snapshot?.id ?? '');
  const at = source.slice(1);
  assert.ok((await readAll(files.get(ctx, `${at}/big`))).equals(noise(9, 2_000_000)));
  assert.equal((await readAll(files.get(ctx, `${at}/folder/small`))).toString(), 'small');
  await save(ctx, store, P1, CONTENTS);
  await place.restic('backup', source, '--tag', 'second');
  await save(ctx, store, P2, { db: { 'shop.dump': noise(2, 1_000_000) } });
  await store.remove(ctx, [P1]);
  for (let i = 0; i < 2; i++) await store.reclaim(ctx, { ...GRACE, graceMs: 0 });
  await place.restic('check', '--read-data');
  assert.deepEqual(await findings(ctx, store), []);
  assert.ok((await readParts(ctx, store, P2, 'db'))['shop.dump']?.equals(noise(2, 1_000_000)));
});

/** An empty prefix of its own. */
async function s3Place(program: Program, name: string): Promise<Place> {
  const { endpoint, region, accessKey, secretKey, bucket } = await (server ??= startS3(SERVER));
  const dir = await mkdtemp(join(tmpdir(), 'lifeboat-stock-s3-'));
  const prefix = `${name}-${program.name.replaceAll(/[^a-z0-9]/gi, '-')}`;
  const repo = `s3:${endpoint}/${bucket}/${prefix}`;
  const keys = { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey, AWS_DEFAULT_REGION: region };
  const ours = s3Bucket(`s3://${bucket}/${prefix}`, { endpoint, region, access_key: accessKey, secret_key: secretKey });
  return {
    dir,
    repo,
    bucket: ours,
    restic: (...args) => stock(program, ['-r', repo, ...args], undefined, keys),
    async [Symbol.asyncDispose]() {
      await ours.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
