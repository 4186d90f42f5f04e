import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-bin-'));
after(() => rmSync(dir, { recursive: true, force: true }));

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[], folder = '/nowhere'): Ended {
  return spawnSync(program, args, { encoding: 'utf8', env: { PATH: `${folder}:/usr/bin:/bin` } });
}

/** A folder whose `node` is what the script makes it. */
function pathWith(name: string, node: string): string {
  const folder = join(dir, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'node'), `#!/bin/sh\n${node}\n`);
  chmodSync(join(folder, 'node'), 0o755);
  return folder;
}

/** Lifeboat as it is where there is no glibc: the packaged Node is there, and its loader is not. */
function withoutGlibc(): string {
  const program = join(dir, 'musl', 'bin', 'lifeboat');
  mkdirSync(join(dir, 'musl', 'bin'), { recursive: true });
  writeFileSync(program, readFileSync('bin/lifeboat', 'utf8').replaceAll('loader=/lib', 'loader=/nowhere/lib'));
  chmodSync(program, 0o755);
  for (const folder of ['src', 'node_modules']) symlinkSync(resolve(folder), join(dir, 'musl', folder));
  return program;
}

/** Lifeboat as it is where its packages for this platform were not installed. */
function withoutPackagedNode(): string {
  mkdirSync(join(dir, 'bare', 'bin'), { recursive: true });
  cpSync('bin/lifeboat', join(dir, 'bare', 'bin', 'lifeboat'));
  symlinkSync(resolve('src'), join(dir, 'bare', 'src'));
  return join(dir, 'bare', 'bin', 'lifeboat');
}

test('the installed command says its version and passes exit codes through', () => {
  assert.equal(run('bin/lifeboat', ['--version']).stdout, `${version}\n`);
  assert.equal(run('bin/lifeboat', ['no-such-command']).status, 2);
});

test('it works through a link, whatever Node the machine has', () => {
  const link = join(dir, 'linked');
  symlinkSync(resolve('bin/lifeboat'), link);
  const old = pathWith('broken', 'exit 1');
  assert.equal(run(link, ['--version'], old).stdout, `${version}\n`);
});

test('without the packaged Node it takes a new one of the machine, and says why it takes no old one', () => {
  const bare = withoutPackagedNode();
  const newer = pathWith('newer', `exec ${process.execPath} "$@"`);
  assert.equal(run(bare, ['--version'], newer).stdout, `${version}\n`);
  const older = run(bare, ['--version'], pathWith('older', 'echo v20.20.2'));
  assert.equal(older.status, 20);
  assert.match(older.stderr, /needs Node 24, and neither the one in PATH \(v20\.20\.2\)/);
  assert.equal(run(bare, ['--version'], pathWith('none', 'exit 127')).status, 20);
});

test('where the packaged Node can not start for lack of glibc, the one of the machine is taken', () => {
  const musl = withoutGlibc();
  const newer = pathWith('of-musl', `echo of the machine >&2; exec ${process.execPath} "$@"`);
  const ran = run(musl, ['--version'], newer);
  assert.equal(ran.stdout, `${version}\n`);
  assert.match(ran.stderr, /of the machine/);
  assert.equal(run(musl, ['--version'], pathWith('none-of-musl', 'exit 127')).status, 20);
});

test('the programs that it starts allocate memory as the user has it, not as Lifeboat does', () => {
  const [config, seen] = [join(dir, 'lifeboat.yaml'), join(dir, 'seen')];
  writeFileSync(
    config,
    `stack: a
stores: { s: { format: restic, bucket: ${dir}/none, password: "\${exec:printenv MALLOC_MMAP_THRESHOLD_ > ${seen} || echo none > ${seen}}" } }
components: { f: { kind: files, paths: [/srv] } }
`,
  );
  const seenWith = (env: Readonly<Record<string, string>>): string => {
    spawnSync(resolve('bin/lifeboat'), ['--config', config, 'list'], { env: { PATH: '/usr/bin:/bin', ...env } });
    return readFileSync(seen, 'utf8').trim();
  };
  assert.equal(seenWith({}), 'none');
  assert.equal(seenWith({ MALLOC_MMAP_THRESHOLD_: '4096' }), '4096');
});
