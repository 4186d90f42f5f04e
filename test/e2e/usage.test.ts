import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { VERSION } from '../../src/cli/version.ts';
import { mapBounded } from '../../src/core/parallel.ts';
import { expectExit, type Ran } from './lifeboat.ts';

const cwd = mkdtempSync(join(tmpdir(), 'lifeboat-usage-'));
after(() => rmSync(cwd, { recursive: true, force: true }));

test('it says its version and its commands', async () => {
  assert.equal((await expectExit(0, ['--version'])).stdout, `${VERSION}\n`);
  const help = await expectExit(0, ['--help']);
  for (const word of ['backup', 'restore', 'drill', 'Exit codes']) assert.match(help.stdout, new RegExp(word));
});

test('every command has help with an example', async () => {
  const { stdout } = await expectExit(0, ['completion', 'words', '--', '']);
  const commands = stdout.trim().split('\n');
  assert.ok(commands.length >= 15, stdout);
  await mapBounded(commands, 4, async (command) => {
    const help = await expectExit(0, [command, '--help'], { cwd });
    assert.match(help.stdout, /^Examples?:|Examples?:$/m, command);
  });
});

test('an unknown command names the nearest one', async () => {
  const ran = await expectExit(2, ['bakcup'], { cwd });
  assert.match(ran.stderr, /unknown command 'bakcup'/);
  assert.match(ran.stderr, /did you mean backup\?/i);
  assert.match((await expectExit(2, ['no-such', 'verify'], { cwd })).stderr, /'no-such'\n {2}run lifeboat --help\n$/);
  assert.match((await expectExit(2, ['keys', 'add'], { cwd })).stderr, /\n {2}run lifeboat keys add --help\n$/);
  assert.match((await expectExit(2, ['compat'], { cwd })).stderr, /'plan'\n {2}run lifeboat compat --help\n$/);
});

test('failures are JSON too when JSON was asked for', async () => {
  const unknown = await expectExit(2, ['bakcup', '--json'], { cwd });
  assert.equal((unknown.json() as { error: { code: string } }).error.code, 'usage');
  const missing = await expectExit(10, ['list', '--json', '--config', 'none.yaml'], { cwd });
  assert.deepEqual(missing.json(), {
    error: {
      code: 'settings-invalid',
      message: 'there is no configuration at none.yaml',
      hint: 'run lifeboat init, or name the file with --config',
    },
  });
});

test('the configuration has a JSON Schema, and a wrong configuration a line', async () => {
  const schema = (await expectExit(0, ['config', 'schema'], { cwd })).json() as { properties: Record<string, unknown> };
  for (const key of ['stack', 'stores', 'components', 'plans', 'drills', 'tiers'])
    assert.ok(key in schema.properties, key);
  const file = join(cwd, 'wrong.yaml');
  writeFileSync(file, 'stack: a\nstores: {}\ncomponents: {}\nplan: {}\n');
  const ran = await expectExit(10, ['config', 'check', '--config', file], { cwd });
  assert.match(ran.stderr, /wrong\.yaml:4: plan: this key is not known\n {2}did you mean plans\?/);
});

test('schedules become cron lines and systemd timers', async () => {
  const file = join(cwd, 'plans.yaml');
  writeFileSync(
    file,
    `stack: a
stores: { s: { format: restic, bucket: ${join(cwd, 'store')}, password: "\${env:STORE_PASSWORD}" } }
components: { f: { kind: files, paths: [/srv] }, db: { kind: postgresql, url: "\${env:DATABASE_URL}" } }
plans: { nightly: { schedule: "0 2 * * *", timezone: Europe/Berlin } }
drills: { weekly: { schedule: "0 1 * * 0" } }
`,
  );
  const cron = await expectExit(0, ['schedule', 'print', '--config', file], { cwd, env: { TZ: 'Etc/UTC' } });
  assert.match(
    cron.stderr,
    /^warning: .* needs DATABASE_URL, STORE_PASSWORD: .*\nwarning: plan-nightly is meant in Europe\/Berlin, and this machine is in UTC: .*\n$/,
  );
  assert.match(
    cron.stdout,
    /^CRON_TZ=Europe\/Berlin\n0 2 \* \* \* root set -a; \[ ! -r \/etc\/lifeboat\/environment \] \|\| \. \/etc\/lifeboat\/environment; lifeboat --config \S+ backup --plan nightly --scheduled$/m,
  );
  const systemd = await expectExit(0, ['schedule', 'print', '--format', 'systemd', '--config', file], { cwd });
  assert.match(systemd.stdout, /^OnCalendar=\*-\*-\* 02:00:00 Europe\/Berlin$/m);
  assert.match(systemd.stdout, /^OnCalendar=Sun \*-\*-\* 01:00:00 UTC$/m);
  assert.match(cron.stdout, /^# Debian's cron knows no CRON_TZ/m);
  const output = ['--format', 'systemd', '--output', cwd];
  const written = await expectExit(0, ['schedule', 'print', ...output, '--config', file]);
  assert.equal(written.stdout.split('\n').length, 5);
  for (const name of ['plan-nightly', 'drill-weekly']) {
    assert.match(
      readFileSync(join(cwd, `lifeboat-a-${name}.service`), 'utf8'),
      /^\[Service\]\nType=oneshot\nEnvironmentFile=-\/etc\/lifeboat\/environment\n/m,
    );
    assert.match(readFileSync(join(cwd, `lifeboat-a-${name}.timer`), 'utf8'), /^\[Timer\]\nOnCalendar=/m);
  }
  await expectExit(0, ['schedule', 'print', ...output, '--config', file]);
  const other = join(cwd, '100 % other.yaml');
  copyFileSync(file, other);
  const refused = await expectExit(18, ['schedule', 'print', ...output, '--config', other]);
  assert.match(refused.stderr, /lifeboat-a-plan-nightly\.service is there and does not run .*: another configuration/);
  const cronFolder = ['--output', mkdtempSync(join(cwd, 'cron-'))];
  for (let again = 0; again < 2; again++) await expectExit(0, ['schedule', 'print', ...cronFolder, '--config', other]);
  await expectExit(18, ['schedule', 'print', ...cronFolder, '--config', file]);
});

test('a schedule applies the keep rules of its plan once the backup is whole', async () => {
  const file = join(cwd, 'keep.yaml');
  writeFileSync(
    file,
    `stack: a
stores: { s: { format: plain, bucket: ${join(cwd, 'store')} } }
components: { f: { kind: files, paths: [/srv] } }
plans: { nightly: { schedule: "0 2 * * *", keep: { daily: 7 } }, hourly: { schedule: "0 * * * *" } }
`,
  );
  const cron = await expectExit(0, ['schedule', 'print', '--config', file]);
  assert.match(cron.stdout, / backup --plan nightly --scheduled && lifeboat --config \S+ prune --apply --wait 1h$/m);
  assert.match(cron.stdout, / backup --plan hourly --scheduled$/m);
  const systemd = await expectExit(0, ['schedule', 'print', '--format', 'systemd', '--config', file]);
  assert.match(
    systemd.stdout,
    /^ExecStart=.* backup --plan nightly .*\nExecStart=\S+ lifeboat .* prune --apply --wait 1h$/m,
  );
});

test('schedules of secrets from elsewhere read the variables of the machine, too, and name those of Vault', async () => {
  const file = join(cwd, 'vault.yaml');
  writeFileSync(
    file,
    `stack: a
stores: { s: { format: restic, bucket: "s3://b/p", password: "\${vault:secret/data/shop#password}" } }
components: { f: { kind: files, paths: [/srv] } }
plans: { nightly: { schedule: "0 2 * * *" } }
`,
  );
  const print = (...args: string[]): Promise<Ran> => expectExit(0, ['schedule', 'print', '--config', file, ...args]);
  const cron = await print();
  assert.match(cron.stderr, /^warning: the configuration needs VAULT_ADDR, VAULT_TOKEN: /);
  assert.match(cron.stdout, / root set -a; \[ ! -r \/etc\/lifeboat\/environment \] \|\| \. \/etc/);
  assert.match((await print('--format', 'systemd')).stdout, /^EnvironmentFile=-\/etc\/lifeboat\/environment$/m);
  writeFileSync(file, readFileSync(file, 'utf8').replace(/\$\{vault:.*?\}/, 'hush'));
  assert.match((await print('--format', 'systemd')).stdout, /^EnvironmentFile=-\/etc\/lifeboat\/environment$/m);
});

test('a machine in UTC starts what is meant in UTC at its time, whatever the zone is called', async () => {
  const file = join(cwd, 'zones.yaml');
  const zones = ['UTC', 'GMT', 'Etc/UTC', 'Europe/London'];
  const plans = zones.map((zone, at) => `p${at}: { schedule: "0 2 * * *", timezone: ${zone} }`);
  writeFileSync(
    file,
    `stack: a
stores: { s: { format: plain, bucket: ${join(cwd, 'store')} } }
components: { f: { kind: files, paths: [/srv] } }
plans: { ${plans.join(', ')} }
`,
  );
  for (const TZ of ['GMT', 'Etc/UTC', 'UTC', 'UTC0']) {
    const { stderr } = await expectExit(0, ['schedule', 'print', '--config', file], { env: { TZ } });
    assert.match(stderr, /^warning: plan-p3 is meant in Europe\/London, and this machine is in UTC: [^\n]*\n$/, TZ);
  }
});
