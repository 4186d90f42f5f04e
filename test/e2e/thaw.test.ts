import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { missing } from '../servers/need.ts';
import { startS3 } from '../servers/s3.ts';
import { type Glacier, startGlacier } from './glacier.ts';
import { expectExit, type Ran, type RunOptions } from './lifeboat.ts';

const skip = await missing('versitygw');
const s3 = skip === false ? await startS3('versitygw') : null;
after(async () => await s3?.[Symbol.asyncDispose]());

interface Rig extends AsyncDisposable {
  readonly glacier: Glacier;
  readonly prefix: string;
  run(exit: number, args: readonly string[], options?: RunOptions): Promise<Ran>;
  /** Removes what is protected. */
  lose(): void;
  /** What the protected file holds; throws when it is gone. */
  read(): string;
}

const CONTENT = 'the only copy\n'.repeat(1000);

/** A folder of files, backed up into a store of `format` in S3. */
async function newRig(format: 'restic' | 'plain'): Promise<Rig> {
  if (!s3) throw new Error('skipped without a server');
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-thaw-'));
  const uploads = join(dir, 'uploads');
  const fill = (): void => {
    mkdirSync(join(uploads, 'deep'), { recursive: true });
    writeFileSync(join(uploads, 'deep', 'file'), CONTENT);
    writeFileSync(join(uploads, 'other'), 'other');
  };
  fill();
  const glacier = await startGlacier(s3);
  const prefix = dir.split('/').at(-1) ?? '';
  const access = `region: ${s3.region}, access_key: ${s3.accessKey}, secret_key: ${s3.secretKey}`;
  const password = format === 'restic' ? ', password: correct horse' : '';
  writeFileSync(
    join(dir, 'lifeboat.yaml'),
    `stack: cold
stores:
  deep: { format: ${format}, bucket: s3://${s3.bucket}/${prefix}, endpoint: ${glacier.endpoint}, ${access}${password} }
  near: { format: plain, bucket: ${join(dir, 'near')} }
components:
  uploads: { kind: files, paths: [${uploads}] }
plans:
  all: { schedule: "0 2 * * *", to: [deep] }
`,
  );
  const run: Rig['run'] = (exit, args, options) => expectExit(exit, args, { cwd: dir, ...options });
  await run(0, ['init', '--yes']);
  await run(0, ['backup', '--plan', 'all']);
  return {
    ...{ glacier, prefix, run },
    lose: () => rmSync(uploads, { recursive: true, force: true }),
    read: () => readFileSync(join(uploads, 'deep', 'file'), 'utf8'),
    async [Symbol.asyncDispose]() {
      await glacier[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** One for all tests of a format: each archives anew. */
const rigs = new Map<string, Promise<Rig>>();
after(async () => {
  for (const each of rigs.values()) await (await each)[Symbol.asyncDispose]();
});
async function rig(format: 'restic' | 'plain'): Promise<Rig> {
  const made = rigs.get(format) ?? newRig(format);
  rigs.set(format, made);
  return await made;
}

test('what is archived is told before anything is touched, with what thawing takes and costs', { skip }, async () => {
  const it = await rig('restic');
  const objects = await it.glacier.archive(new RegExp(`^${it.prefix}/data/`));
  it.lose();
  const shown = (await it.run(3, ['restore', 'latest', '--preview', '--json'])).json() as {
    archived: {
      objects: number;
      bytes: number;
      thawing: number;
      offers: { tier: string; hours: number; usd: number }[];
    };
  };
  assert.ok(shown.archived.objects >= 1 && shown.archived.objects <= objects);
  assert.equal(shown.archived.thawing, 0);
  assert.deepEqual(
    shown.archived.offers.map(({ tier, hours }) => [tier, Math.round(hours * 60)]),
    [
      ['expedited', 5],
      ['standard', 300],
      ['bulk', 720],
    ],
  );
  assert.ok(shown.archived.offers.every(({ usd }) => usd > 0));
  const { stdout } = await it.run(3, ['restore', 'latest', '--preview']);
  assert.match(stdout, /ARCHIVED: \d objects?, .*must be thawed first/);
  assert.match(stdout, /They lead to the rest/);
  assert.match(stdout, /standard +5 h +less than 1 cent/);
  assert.match(stdout, /Estimates: list prices of Amazon S3/);

  const refused = await it.run(31, ['restore', 'latest', '--yes']);
  assert.match(refused.stderr, /archived/);
  assert.match(refused.stderr, /--thaw standard/);
  await it.run(34, ['restore', 'latest', '--thaw', 'standard']); // nobody said yes to the cost
  assert.deepEqual(it.glacier.asked, []);
  assert.throws(() => it.read());
});

test('a restore asks for what is archived once, says when to come back, and goes on when repeated', {
  skip,
}, async () => {
  const it = await rig('plain');
  const objects = await it.glacier.archive(new RegExp(`^${it.prefix}/0-lifeboat/points/`));
  it.lose();
  const first = (await it.run(3, ['restore', 'latest', '--thaw', 'bulk', '--yes', '--json'])).json() as {
    thaw: { objects: number };
  };
  assert.equal(first.thaw.objects, objects);
  assert.equal(it.glacier.asked.length, objects);
  const again = await it.run(3, ['restore', 'latest', '--thaw', 'bulk', '--yes']);
  assert.match(again.stdout, /bulk takes up to 12 h/);
  assert.equal(it.glacier.asked.length, objects, 'what is on its way was asked for again');
  const { stderr } = await it.run(31, ['restore', 'latest', '--yes']);
  assert.match(stderr, new RegExp(`of which ${objects} were asked for`));
  it.glacier.thaw();
  await it.run(0, ['restore', 'latest', '--yes']);
  assert.equal(it.read(), CONTENT);
});

test('--wait can be stopped and repeated, and the restore follows by itself', { skip }, async () => {
  const it = await rig('restic');
  await it.glacier.archive(new RegExp(`^${it.prefix}/data/`));
  it.lose();
  const args = ['restore', 'latest', '--thaw', 'expedited', '--wait', '--yes'];
  const stopped = it.run(130, args, {
    onStart: (child) => {
      let [heard, sent] = ['', false];
      child.stderr?.on('data', (text: string) => {
        heard += text;
        if (!sent && heard.includes('waiting for')) sent = child.kill('SIGINT');
      });
    },
  });
  await stopped;
  const asked = it.glacier.asked.length;
  assert.ok(asked > 0);
  assert.throws(() => it.read());
  // The folders come back first, and name the packs of the files.
  it.glacier.thawAtOnce();
  await it.run(0, args);
  assert.equal(it.read(), CONTENT);
  assert.equal(new Set(it.glacier.asked).size, it.glacier.asked.length, 'something was asked for twice');
});

test('a drill, an extraction, a read of the data and a copy say that the point must be thawed', { skip }, async () => {
  const it = await rig('restic');
  await it.glacier.archive(new RegExp(`^${it.prefix}/data/`));
  const commands = [
    ['drill', '--store', 'deep'],
    ['extract', '--from', 'uploads', '--path', '**', '--store', 'deep'],
    ['verify', 'latest', '--read-data', '--store', 'deep'],
  ];
  for (const args of commands) {
    const { stdout } = await it.run(31, [...args, '--json']);
    const { error } = JSON.parse(stdout) as { error: { code: string; hint: string } };
    assert.equal(error.code, 'archived', args.join(' '));
    assert.match(error.hint, /restore .*--thaw standard/, args.join(' '));
  }
  const whole = (await it.run(3, ['verify', '--read-data', '--store', 'deep', '--json'])).json() as {
    stores: { verdict: string; coverage: unknown; findings: { kept: { verdict: string; hint?: string }[] } }[];
  };
  assert.equal(whole.stores[0]?.verdict, 'unknown');
  assert.equal(whole.stores[0]?.coverage, null, 'what could not be read counts as read');
  assert.match(whole.stores[0]?.findings.kept[0]?.hint ?? '', /--thaw standard/);
  const copied = (await it.run(3, ['copy', '--from', 'deep', '--to', 'near', '--json'])).json() as {
    points: { error: { code: string; hint: string } }[];
  };
  assert.equal(copied.points[0]?.error.code, 'archived');
  assert.match(copied.points[0]?.error.hint ?? '', /--thaw standard/);
});

test('a tier that a storage class does not have is refused before anything is asked for', { skip }, async () => {
  const it = await rig('plain');
  await it.glacier.archive(new RegExp(`^${it.prefix}/0-lifeboat/points/`), 'DEEP_ARCHIVE');
  it.lose();
  const { stderr } = await it.run(2, ['restore', 'latest', '--thaw', 'expedited', '--yes']);
  assert.match(stderr, /DEEP_ARCHIVE/);
  assert.match(stderr, /choose standard or bulk/);
  await it.run(2, ['restore', 'latest', '--wait', '--yes']);
  await it.run(2, ['restore', 'latest', '--thaw', 'soon', '--yes']);
  assert.deepEqual(it.glacier.asked, []);
});

for (const format of ['restic', 'plain'] as const) {
  test(`a ${format} store that was archived whole comes back by the same command`, { skip }, async () => {
    const it = await rig(format);
    await it.glacier.archive(new RegExp(`^${it.prefix}/`));
    it.lose();
    const { stderr } = await it.run(31, ['restore', 'latest', '--yes', '--store', 'deep']);
    assert.match(stderr, /--thaw standard/);
    await it.run(31, ['restore', 'latest', '--preview', '--store', 'deep', '--thaw', 'standard']);
    assert.deepEqual(it.glacier.asked, [], 'a preview asked for something');
    it.glacier.thawAtOnce();
    await it.run(0, ['restore', 'latest', '--yes', '--store', 'deep', '--thaw', 'standard', '--wait']);
    assert.equal(it.read(), CONTENT);
  });
}
