import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Exchange, type HttpFault, refusal, startFaultProxy } from '../../src/buckets/s3/fault-proxy.ts';
import { missing } from '../servers/need.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startS3 } from '../servers/s3.ts';
import { fourRights } from '../servers/s3-rights.ts';
import { expectExit } from './lifeboat.ts';
import { query } from './postgres.ts';

const noS3 = await missing('versitygw');
const s3 = noS3 === false ? await startS3('versitygw') : null;
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-doctor-'));
after(async () => {
  await s3?.[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

interface Finding {
  readonly check: string;
  readonly verdict: string;
  readonly detail: string;
  readonly hint?: string;
}
interface Report {
  readonly verdict: string;
  readonly examined: readonly { readonly kind: string; readonly name: string; readonly findings: readonly Finding[] }[];
}

/** A directory with a configuration and some files to protect. */
function stack(name: string, stores: string, components = ''): string {
  const cwd = join(dir, name);
  mkdirSync(join(cwd, 'uploads'), { recursive: true });
  writeFileSync(join(cwd, 'uploads', 'file'), 'content');
  const uploads = `  uploads: { kind: files, paths: [${join(cwd, 'uploads')}] }`;
  const text = `stack: ill\nstores:\n${stores}\ncomponents:\n${uploads}\n${components}`;
  writeFileSync(join(cwd, 'lifeboat.yaml'), text.replaceAll('DIR', cwd));
  return cwd;
}

async function diagnosis(exit: number, cwd: string, args: readonly string[] = []): Promise<Report> {
  return (await expectExit(exit, ['doctor', '--json', ...args], { cwd })).json() as Report;
}
function of(report: Report, name: string): readonly Finding[] {
  const found = report.examined.find((each) => each.name === name);
  assert.ok(found, `${name} was not examined`);
  return found.findings;
}
function finding(report: Report, name: string, check: RegExp): Finding {
  const found = of(report, name).find((each) => check.test(each.check));
  assert.ok(found, `nothing is said of ${check} about ${name}`);
  return found;
}

test('a healthy stack is told so, with its clocks and its room, and nothing is left behind', async () => {
  const cwd = stack('healthy', '  near: { format: plain, bucket: DIR/near }');
  await expectExit(0, ['init', '--yes'], { cwd });
  await expectExit(0, ['backup'], { cwd });
  const before = readdirSync(join(cwd, 'near'));
  const report = await diagnosis(0, cwd);
  assert.equal(report.verdict, 'pass');
  assert.deepEqual(
    report.examined.map(({ kind, name }) => `${kind} ${name}`),
    ['component uploads', 'store near', 'machine here'],
  );
  for (const check of [/written to/, /read/, /listed/, /deleted/, /clock/]) {
    assert.equal(finding(report, 'near', check).verdict, 'pass');
  }
  assert.match(finding(report, 'near', /room for a backup/).detail, /free, at most \d+ B to come/);
  assert.match(finding(report, 'here', /room to unpack/).detail, /free/);
  assert.equal(finding(report, 'uploads', /a drill can restore it/).verdict, 'pass');
  const { stdout } = await expectExit(0, ['doctor', '--store', 'near', '--deep'], { cwd });
  assert.match(stdout, /^store near: plain at /);
  assert.match(stdout, / {2}pass {2}keys are listed below a prefix, in byte order +as it should be/);
  assert.deepEqual(readdirSync(join(cwd, 'near')), before);
});

test('a secret that is not there costs its own store only', async () => {
  const broken = `  broken: { format: restic, bucket: DIR/broken, password: "\${env:NOT_SET}" }`;
  const cwd = stack('secret', `${broken}\n  near: { format: plain, bucket: DIR/near }`);
  await expectExit(0, ['init', '--yes'], { cwd, env: { NOT_SET: 'set' } });
  const report = await diagnosis(3, cwd, ['--deep']);
  assert.equal(report.verdict, 'fail');
  assert.ok(of(report, 'broken').length > 0);
  assert.ok(of(report, 'broken').every(({ verdict, detail }) => verdict === 'fail' && /NOT_SET/.test(detail)));
  assert.ok(of(report, 'near').length > 20);
  assert.ok(of(report, 'near').every(({ verdict }) => verdict === 'pass'));
  assert.equal(finding(report, 'uploads', /it answers/).verdict, 'pass');
});

/** The four actions of least privilege are enough: everything else is answered as S3 answers who may not see it. */
const OPTIONAL = /\?(versioning|encryption|object-lock|lifecycle)\b/;
const needs = { skip: noS3 };

async function inS3(
  name: string,
  choose: (exchange: Exchange) => HttpFault | undefined,
  work: (cwd: string, allow: (all: boolean) => void) => Promise<void>,
): Promise<void> {
  if (!s3) throw new Error('skipped without a server');
  let free = true;
  await using proxy = await startFaultProxy(s3.endpoint, (exchange) => (free ? undefined : choose(exchange)));
  const access = `region: ${s3.region}, access_key: ${s3.accessKey}, secret_key: ${s3.secretKey}`;
  const bucket = `bucket: s3://${s3.bucket}/${name}, endpoint: ${proxy.endpoint}, ${access}`;
  const cwd = stack(name, `  far: { format: plain, ${bucket} }`);
  await expectExit(0, ['init', '--yes'], { cwd });
  free = false;
  await work(cwd, (all) => void (free = all));
}

test('each right that is missing is a failure that names the action to allow', needs, async () => {
  const rights = [
    { line: /^PUT /, action: 's3:PutObject', check: /written to/ },
    { line: /^GET [^?]*\/right\b/, action: 's3:GetObject', check: /it can be read/ },
    { line: /list-type=2/, action: 's3:ListBucket', check: /listed/ },
    { line: /^DELETE /, action: 's3:DeleteObject', check: /deleted/ },
  ];
  let denied = rights[0];
  await inS3(
    'rights',
    ({ line }) => (denied?.line.test(line) ? refusal(403, 'AccessDenied') : undefined),
    async (cwd) => {
      for (const right of rights) {
        denied = right;
        const report = await diagnosis(3, cwd, ['--store', 'far']);
        assert.equal(report.verdict, 'fail', right.action);
        const { verdict, hint } = finding(report, 'far', right.check);
        assert.deepEqual([verdict, hint], ['fail', `allow ${right.action}`]);
      }
    },
  );
});

test('what only optional rights would show is unknown, never a failure', needs, async () => {
  await inS3(
    'least',
    ({ line }) => (OPTIONAL.test(line) ? refusal(403, 'AccessDenied') : undefined),
    async (cwd) => {
      const report = await diagnosis(3, cwd, ['--store', 'far']);
      assert.equal(report.verdict, 'unknown');
      for (const check of [/^versioning$/, /^encryption$/, /^object lock$/, /^lifecycle$/]) {
        const { verdict, detail, hint } = finding(report, 'far', check);
        assert.equal(verdict, 'unknown');
        assert.match(detail, /AccessDenied/);
        assert.match(hint ?? '', /to see it, allow s3:Get\w+; no backup needs it/);
      }
      for (const check of [/written to/, /read/, /listed/, /deleted/]) {
        assert.equal(finding(report, 'far', check).verdict, 'pass');
      }
    },
  );
});

test('nothing fails for somebody whom a real server allows the four rights and nothing else', needs, async () => {
  if (!s3) throw new Error('skipped without a server');
  const { access_key, secret_key } = await fourRights.versitygw(s3);
  const access = `region: ${s3.region}, access_key: ${access_key}, secret_key: ${secret_key}`;
  const cwd = stack(
    'four',
    `  far: { format: plain, bucket: s3://${s3.bucket}/four, endpoint: ${s3.endpoint}, ${access} }`,
  );
  await expectExit(0, ['init', '--yes'], { cwd });
  const findings = of(await diagnosis(3, cwd, ['--store', 'far']), 'far');
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict === 'fail'),
    [],
  );
  assert.equal(findings.find(({ check }) => check === 'versioning')?.verdict, 'unknown');
});

const LIFECYCLE = `<LifecycleConfiguration>
<Rule><ID>tidy</ID><Filter><Prefix>ages/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>
<Rule><ID>cold</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>
  <Transition><Days>7</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition></Rule>
<Rule><ID>warm</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>
  <Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition></Rule>
<Rule><ID>other</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>paused</ID><Filter><Prefix></Prefix></Filter><Status>Disabled</Status><Expiration><Days>1</Days></Expiration></Rule>
</LifecycleConfiguration>`;
const LOCK = `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>
<Mode>GOVERNANCE</Mode><Days>14</Days></DefaultRetention></Rule></ObjectLockConfiguration>`;
const ENCRYPTION = `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>
<SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`;
const VERSIONING = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';

test('rules that delete or archive our objects are found, and other decisions shown', needs, async () => {
  const answers: Readonly<Record<string, string>> = {
    versioning: VERSIONING,
    encryption: ENCRYPTION,
    'object-lock': LOCK,
    lifecycle: LIFECYCLE,
  };
  await inS3(
    'ages',
    ({ line }) => {
      const body = answers[OPTIONAL.exec(line)?.[1] ?? ''];
      return body === undefined ? undefined : { answer: 200, body, headers: { 'content-type': 'application/xml' } };
    },
    async (cwd) => {
      const report = await diagnosis(3, cwd, ['--store', 'far']);
      const rules = of(report, 'far').filter(({ check }) => check === 'lifecycle');
      assert.deepEqual(
        rules.map(({ verdict, detail }) => [verdict, /^rule (\w+) (\w+)/.exec(detail)?.slice(1).join(' ')]),
        [
          ['fail', 'tidy deletes'],
          ['unknown', 'cold archives'],
        ],
      );
      assert.match(rules[0]?.detail ?? '', /below ages\/ after 30 days/);
      assert.equal(finding(report, 'far', /^versioning$/).detail, 'enabled');
      assert.equal(finding(report, 'far', /^encryption$/).detail, 'aws:kms');
      assert.equal(finding(report, 'far', /^object lock$/).detail, 'governance for 14 days');
    },
  );
});

test('a store whose clock is an hour off is named', needs, async () => {
  const headers = {
    'content-length': '1',
    'last-modified': new Date(Date.now() - 3_600_000).toUTCString(),
  };
  await inS3(
    'clock',
    ({ line }) => (/^HEAD .*\/right/.test(line) ? { answer: 200, headers } : undefined),
    async (cwd) => {
      const { verdict, detail, hint } = finding(await diagnosis(3, cwd, ['--store', 'far']), 'far', /clock/);
      assert.equal(verdict, 'fail');
      assert.match(detail, /^3[56]\d{5} ms behind$/);
      assert.match(hint ?? '', /NTP/);
    },
  );
});

test('for PostgreSQL it says what digests take, and what a drill lacks on this machine', {
  skip: await missing('postgres-16'),
}, async () => {
  await using postgres = await startPostgres(16);
  await query(postgres.url, 'create database shop');
  const shop = postgres.url.replace(/postgres$/, 'shop');
  await query(shop, 'create table t as select n, repeat(md5(n::text), 30) as text from generate_series(1, 12000) n');
  const { host, port, user, password, bin } = postgres;
  const settings = `host: ${host}, port: ${port}, user: ${user}, password: ${password}, databases: [shop]`;
  const cwd = stack(
    'postgres',
    '  near: { format: plain, bucket: DIR/near }',
    `  main-db: { kind: postgresql, ${settings}, bin_dir: DIR/clients }\n`,
  );
  mkdirSync(join(cwd, 'clients'));
  for (const name of ['pg_dump', 'pg_dumpall', 'pg_restore', 'psql']) {
    symlinkSync(join(bin, name), join(cwd, 'clients', name));
  }
  await expectExit(0, ['init', '--yes'], { cwd });
  const report = await diagnosis(3, cwd);
  const cost = finding(report, 'main-db', /what digests of all rows of shop take/);
  assert.equal(cost.verdict, 'pass');
  assert.match(cost.detail, /inventory 'full' adds about (a second|\d+ s) to 'counts'.*1[0-9] MB of tables.*MB\/s/);
  const drill = finding(report, 'main-db', /a drill can restore it here/);
  assert.equal(drill.verdict, 'unknown');
  assert.match(drill.hint ?? '', /install postgresql-16/);
});
