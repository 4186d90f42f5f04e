// What neither the type checker nor the linter sees: the directions of imports, who may do what, what must be
// documented, and sizes that may only shrink.

import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { ERRORS } from '../src/core/errors.ts';

const PLUGIN_LAYERS = ['buckets', 'stores', 'drivers', 'sandboxes'];
/** What a layer may import besides itself. A plug-in may import core and its own folder only. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  ...Object.fromEntries(PLUGIN_LAYERS.map((layer) => [layer, ['core']])),
  engine: ['core'],
  cli: ['core', 'engine', ...PLUGIN_LAYERS],
};
/** Libraries that must not spread: the only folders that may import each. */
const LIBRARIES: Readonly<Record<string, string>> = {
  '@aws-sdk/client-s3': 'src/buckets/s3/',
  '@aws-sdk/credential-providers': 'src/core/aws.ts',
  '@aws-sdk/client-secrets-manager': 'src/cli/config/',
  pg: 'src/drivers/postgresql/',
  redis: 'src/drivers/redis/',
  '@platformatic/kafka': 'src/drivers/kafka/',
  undici: 'src/drivers/',
  commander: 'src/cli/',
  '@prometheus-io/lezer-promql': 'src/engine/lint/',
  '@clack/prompts': 'src/cli/',
};
/** The numbered failures that have hurt users of backup products, as far as what they are about exists. */
const FAULTS_OWED: readonly number[] = [...Array.from({ length: 46 }, (_, at) => at + 1), ...[48, 49, 50, 51]];
const LINES_MAX = 400;
const COLUMNS_MAX = 120;
const BLOB_BYTES_MAX = 256 * 1024;

const everything = globSync('**/*', { exclude: (name) => /^(node_modules|\.git|out)$/.test(name) }).filter((path) =>
  statSync(path).isFile(),
);
const typescript = everything.filter((path) => path.endsWith('.ts'));
const product = typescript.filter((path) => path.startsWith('src/') && !isTest(path));

function isTest(path: string): boolean {
  return /\.(test|slow|suite)\.ts$|[/-]testing\.ts$|\/fixtures\//.test(path);
}

test('imports point inwards, and plug-ins do not know one another', () => {
  const wrong = product.flatMap((path) =>
    importsOf(path)
      .filter((to) => to.startsWith('src/') && !mayImport(path, to))
      .map((to) => `${path} imports ${to}`),
  );
  assert.deepEqual(wrong, []);
});

test('no file imports itself in a circle', () => {
  const circles: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, way: readonly string[]): void => {
    const at = way.indexOf(path);
    if (at >= 0) circles.push([...way.slice(at), path].join(' → '));
    if (at >= 0 || done.has(path)) return;
    for (const to of importsOf(path)) if (to.endsWith('.ts') && existsSync(to)) walk(to, [...way, path]);
    done.add(path);
  };
  for (const path of typescript) walk(path, []);
  assert.deepEqual(circles, []);
});

test('libraries stay in the folder that they were chosen for', () => {
  const wrong = product.flatMap((path) =>
    Object.entries(LIBRARIES)
      .filter(([library, folder]) => !path.startsWith(folder) && packagesOf(path).some((name) => isOf(name, library)))
      .map(([library, folder]) => `${path} imports ${library}, which only ${folder} may`),
  );
  assert.deepEqual(wrong, []);
});

test('only cli/main.ts reads the environment, the clock and signals', () => {
  // Signal 0 only asks whether a process is there.
  const forbidden =
    /process\.env|Date\.now\(|new Date\(\)|performance\.now\(|process\.(on|once|exit)\(|process\.kill\((?!\w+, 0\))/;
  const allowed = new Map([
    ['src/cli/main.ts', forbidden],
    ['src/core/process.ts', /process\.kill\(/], // its own children
    ['src/core/liveness.ts', /process\.kill\(/], // those of an earlier run, with proof
  ]);
  const wrong = linesOf(product).filter(({ path, code }) => forbidden.test(code) && !allowed.get(path)?.test(code));
  assert.deepEqual(wrong.map(placed), []);
});

test('only the command line speaks', () => {
  const speaks = /\bconsole\.|process\.std(out|err)/;
  const wrong = linesOf(product).filter(({ path, code }) => !path.startsWith('src/cli/') && speaks.test(code));
  assert.deepEqual(wrong.map(placed), []);
});

test('every plug-in runs the suite of its layer', () => {
  for (const layer of PLUGIN_LAYERS) {
    const suite = `${layer === 'sandboxes' ? 'sandbox' : layer.slice(0, -1)}Suite(`;
    const plugins = new Set(product.filter((path) => path.startsWith(`src/${layer}/`)).map(unitOf));
    for (const plugin of [...plugins].filter((unit) => !unit.endsWith('.ts'))) {
      const tests = typescript.filter((path) => path.startsWith(`src/${layer}/${plugin}/`) && isTest(path));
      assert.ok(
        tests.some((path) => readFileSync(path, 'utf8').includes(suite)),
        `src/${layer}/${plugin} never calls ${suite}…)`,
      );
    }
  }
});

test('every driver has its page', () => {
  const drivers = new Set(product.filter((path) => path.startsWith('src/drivers/')).map(unitOf));
  const without = [...drivers].filter((name) => !name.endsWith('.ts') && !existsSync(`docs/drivers/${name}.md`));
  assert.deepEqual(without, []);
});

test('every error is documented, and every documented error exists', () => {
  const sections = readFileSync('docs/errors.md', 'utf8').split(/^## /m).slice(1);
  const documented = new Map(sections.map((text) => [text.split('\n')[0] ?? '', text]));
  assert.deepEqual([...documented.keys()].sort(), Object.keys(ERRORS).sort());
  for (const [code, { exit, retry, lost }] of Object.entries(ERRORS)) {
    const text = documented.get(code) ?? '';
    const head = `Exit ${exit}.${retry ? ' Retry.' : ''}${lost ? ' Point lost.' : ''}`;
    const second = (text.split('\n')[1] ?? '').replace(/^(Exit \d+\.(?: Retry\.)?(?: Point lost\.)?).*/, '$1');
    assert.equal(second, head, `docs/errors.md: ${code}`);
    assert.match(text, /^What to do: /m, `docs/errors.md: ${code}`);
  }
});

test('no two errors share an exit code', () => {
  const exits = Object.values(ERRORS).map(({ exit }) => exit);
  assert.equal(new Set(exits).size, exits.length);
});

test('no default exports, no any, no long comments', () => {
  const wrong = linesOf(typescript).filter(
    ({ code, line }) =>
      /^export default|[:<|&]\s*any\b|\bas any\b/.test(code) ||
      // The formatter breaks code, but no comments.
      (/^\s*(\/\/|\/?\*)/.test(line) && line.length > COLUMNS_MAX),
  );
  assert.deepEqual(wrong.map(placed), []);
});

test('files stay short, and exceptions only become fewer', () => {
  const ratchet: unknown = JSON.parse(readFileSync('test/ratchet.json', 'utf8'));
  const all = typescript.map((path) => ({ path, text: readFileSync(path, 'utf8') }));
  const count = (pattern: RegExp): number => all.flatMap(({ text }) => text.match(pattern) ?? []).length;
  const found = {
    long_files: all
      .filter(({ text }) => text.split('\n').length - 1 > LINES_MAX)
      .map(({ path }) => path)
      .sort(),
    linter_exceptions: count(/\/\/ *biome-ignore/g),
    casts_through_unknown: count(/\bas unknown as\b/g),
  };
  assert.deepEqual(found, ratchet, 'test/ratchet.json: correct the code, or lower the figures where it became better');
});

test('no file is a blob', () => {
  const large = everything.filter((path) => statSync(path).size > BLOB_BYTES_MAX && path !== 'package-lock.json');
  assert.deepEqual(large, []);
});

test('nothing tells of the machine that it was written on', () => {
  // Put together here, so that this file does not match itself.
  const places = ['root', 'work', 'Users', 'home/[a-z]+'].map((name) => `(?<![\\w.}*])/${name}/`);
  const telling = new RegExp([...places, `"resolved${'"'}`, ['regis', 'try\\.(npmjs|yarnpkg)'].join('')].join('|'));
  const wrong = everything.flatMap((path) => {
    const text = readFileSync(path, 'utf8');
    return text
      .split('\n')
      .filter((line) => telling.test(line))
      .map((line) => `${path}: ${line.trim().slice(0, 100)}`);
  });
  assert.deepEqual(wrong, []);
});

test('links between our pages lead somewhere', () => {
  const broken = everything
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)]
        .filter(([, to = '']) => !existsSync(join(dirname(path), to)))
        .map(([, to]) => `${path} → ${to}`),
    );
  assert.deepEqual(broken, []);
});

test('files that our pages name are there', () => {
  // 'src/' is left out in prose; what lies in a store is not ours to have.
  const named = /(?<![\w/$<.{*-])(?!0-lifeboat\/|_?lifeboat\/)((?:[\w.*-]+\/)+[\w.*-]+\.(?:ts|mjs|md|sh|json|yaml))\b/g;
  const gone = everything
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(named)]
        .map(([, to = '']) => to)
        .filter((to) => ![to, `src/${to}`, join(dirname(path), to)].some((each) => globSync(each).length > 0))
        .map((to) => `${path} → ${to}`),
    );
  assert.deepEqual(gone, []);
});

test('every fault that is owed is in the title of a test', () => {
  const named = new Set(typescript.filter(isTest).flatMap((path) => faultsIn(readFileSync(path, 'utf8'))));
  const without = FAULTS_OWED.filter((fault) => !named.has(fault));
  assert.deepEqual(without, [], 'name the fault in the title of its test, as "(fault 12)"');
});

function mayImport(path: string, to: string): boolean {
  const [from, into] = [layerOf(path), layerOf(to)];
  if (from !== into) return MAY_IMPORT[from]?.includes(into) ?? false;
  // What lies beside the plug-ins of a layer is common to them, and knows none of them.
  return !PLUGIN_LAYERS.includes(from) || unitOf(path) === unitOf(to) || unitOf(to).endsWith('.ts');
}

/** '… (fault 12)', 'fault 12: …', 'faults 6 and 10: …' in titles. */
function faultsIn(text: string): number[] {
  return [...text.matchAll(/\b(?:test|it|describe)\(\s*(['"`])(?<title>.*?)\1\s*,/gs)].flatMap(({ groups }) =>
    [...(groups?.title ?? '').matchAll(/\bfaults? (?<numbers>\d+(?:(?:, | and )\d+)*)/g)].flatMap((found) =>
      (found.groups?.numbers ?? '').split(/\D+/).map(Number),
    ),
  );
}

function layerOf(path: string): string {
  return path.split('/')[1] ?? '';
}

function unitOf(path: string): string {
  return path.split('/')[2] ?? '';
}

function importsOf(path: string): string[] {
  return specifiersOf(path)
    .filter((name) => name.startsWith('.'))
    .map((name) => normalize(join(dirname(path), name)));
}

function packagesOf(path: string): string[] {
  return specifiersOf(path).filter((name) => !name.startsWith('.') && !name.startsWith('node:'));
}

function isOf(name: string, library: string): boolean {
  return name === library || name.startsWith(library.endsWith('/') ? library : `${library}/`);
}

function specifiersOf(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  return [...text.matchAll(/\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)|new URL\('(\.[^']+)'/gm)].map(
    (match) => match.slice(1).find(Boolean) ?? '',
  );
}

interface Line {
  readonly path: string;
  readonly number: number;
  readonly line: string;
  /** Without comments. */
  readonly code: string;
}

function placed({ path, number, line }: Line): string {
  return `${path}:${number}: ${line.trim().slice(0, 100)}`;
}

function linesOf(paths: readonly string[]): Line[] {
  return paths.flatMap((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .map((line, index) => ({ path, number: index + 1, line, code: line.replace(/(^|\s)\/\/.*|^\s*\/?\*.*/, '') })),
  );
}
