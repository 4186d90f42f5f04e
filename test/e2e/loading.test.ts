import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { expectExit } from './lifeboat.ts';

const dir = mkdtempSync(join(tmpdir(), 'lifeboat-loading-'));
after(() => rmSync(dir, { recursive: true }));

/** Runs before the command and notes each module in the file LOADED. */
const RECORDER = `
  import { appendFileSync } from 'node:fs';
  import { registerHooks } from 'node:module';
  registerHooks({
    load(url, context, next) {
      appendFileSync(process.env.LOADED, url + '\\n');
      return next(url, context);
    },
  });`;

async function loadedBy(args: readonly string[]): Promise<string[]> {
  const LOADED = join(dir, 'loaded.txt');
  writeFileSync(LOADED, '');
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(RECORDER)}`;
  await expectExit(0, ['--config', join(dir, 'lifeboat.yaml'), ...args], { env: { LOADED, NODE_OPTIONS } });
  return readFileSync(LOADED, 'utf8').split('\n');
}

test('a command loads what it uses: no plug-in that is not configured, no other languages, to look nothing that writes', async () => {
  const stores = `{ main: { format: restic, bucket: ${join(dir, 'store')}, password: secret } }`;
  const components = `{ data: { kind: files, paths: [${dir}] } }`;
  writeFileSync(join(dir, 'lifeboat.yaml'), `stack: small\nstores: ${stores}\ncomponents: ${components}\n`);
  await loadedBy(['init']);
  const loaded = await loadedBy(['list']);
  assert.ok(loaded.some((url) => url.endsWith('/src/cli/commands/list.ts')));
  const never =
    /locales\/(?!en\.js)|@aws-sdk|node_modules\/(pg|redis|@redis|@clack)\/|src\/(stores\/plain|buckets\/s3|drivers\/\w+\/(?!settings))/;
  assert.deepEqual(
    loaded.filter((url) => never.test(url)),
    [],
  );
  const writing = /restic\/(writer|check|reclaim|drafts|chunker)\.ts|worker\.ts/;
  assert.deepEqual(
    loaded.filter((url) => writing.test(url)),
    [],
  );
});

test('lint loads a parser of alerts only where there are some', async () => {
  const parser = /@lezer|lezer-promql/;
  const file = join(dir, 'lifeboat.yaml');
  const text = `stack: small\nstores: { main: { format: restic, bucket: ${dir}/store, password: "\${env:HOME}" } }
components: { data: { kind: files, paths: [${dir}] } }\n`;
  writeFileSync(join(dir, 'alerts.yml'), 'groups: []\n');
  for (const [more, isLoaded] of [
    ['', false],
    ['alerts: { rules: [alerts.yml] }\n', true],
  ] as const) {
    writeFileSync(file, text + more);
    const loaded = await loadedBy(['lint', '--except', 'not-captured,no-tier']);
    assert.equal(
      loaded.some((url) => parser.test(url)),
      isLoaded,
      more,
    );
  }
});

test('a backup, a copy and a drill load the driver of what they are about, and no other', async () => {
  const stores = ['main', 'other'].map(
    (name) => `${name}: { format: restic, bucket: ${join(dir, name)}, password: x }`,
  );
  const components = `{ data: { kind: files, paths: [${dir}/it] } }`;
  const yaml = `stack: copied\nstores: { ${stores.join(', ')} }\ncomponents: ${components}\n`;
  writeFileSync(join(dir, 'lifeboat.yaml'), yaml);
  mkdirSync(join(dir, 'it'));
  await loadedBy(['init']);
  const others = /src\/drivers\/(?!files)\w+\/(?!settings)|@platformatic|src\/sandboxes\/external/;
  for (const args of [['backup'], ['copy', '--from', 'main', '--to', 'other'], ['drill']]) {
    const [command] = args;
    const loaded = (await loadedBy(args)).filter((url) => others.test(url));
    assert.deepEqual(loaded, [], command);
  }
});
