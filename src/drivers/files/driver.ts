// Files and directories: configuration, uploads, whatever has no server of its own.

import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import type { Component } from '../../core/component.ts';
import type { Driver } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryLine, InventoryReader, Probe } from '../../core/model.ts';
import { parseSettings } from '../../core/settings.ts';
import { attempt } from '../failures.ts';
import { capture, identityHere, liveInventory, versionHere } from './capture.ts';
import { shortDigest } from './entries.ts';
import { extract, merge } from './extract.ts';
import { encode, isDirectoryName } from './names.ts';
import { restore } from './restore.ts';
import { type FilesSettings, filesSettings } from './settings.ts';
import { dropAside, holdsData } from './target.ts';
import { locate, startsOf } from './walk.ts';
import { writtenFiles } from './written.ts';

/** Of those that are alike, the number says enough; of those that are not, this many are named. */
const NAMED_MAX = 1000;

export const filesDriver = {
  kind: 'files',
  open(settings): Component {
    const parsed = parseSettings(filesSettings, settings, 'files');
    const written = writtenFiles();
    return {
      probe: async () => probe(parsed),
      capture: (ctx, sink, previous) => capture(ctx, parsed, sink, previous),
      restore: (ctx, chain, options) => restore(ctx, parsed, written, chain, options),
      inventory: async () => liveInventory(parsed, written),
      extract: (ctx, chain, selection) => extract(ctx, chain, selection),
      merge: (ctx, rows, _selection, mode) => merge(ctx, parsed, rows, mode),
      dropOld: async () => dropAside(parsed),
    };
  },
  compare,
  retarget(settings, target) {
    if (target.startsWith('/')) return { ...parseSettings(filesSettings, settings, 'files'), root: resolve(target) };
    throw new Failure('settings-invalid', `files can't be restored to ${target}: it is not an absolute directory`);
  },
  serverSpec: async (_ctx, { dir }) => ({
    files: [],
    prepare: [],
    run: null,
    settings: { root: dir, paths: ['/'] },
    unprivileged: false,
    stopSignal: 'SIGTERM',
  }),
} satisfies Driver;

function probe(settings: FilesSettings): Probe {
  return {
    version: versionHere(),
    identity: identityHere(settings),
    bytes: null,
    holdsData: holdsData(settings),
    clockSkewMs: 0,
    findings: settings.paths.map((path) => reachable(settings, path)),
  };
}

function reachable(settings: FilesSettings, path: string): Finding {
  const check = `${locate(settings, encode(Buffer.from(path)))} can be captured`;
  try {
    const [start = ''] = startsOf({ ...settings, paths: [path] });
    const at = locate(settings, start);
    const folder = isDirectoryName(start);
    attempt(at.toString(), () => accessSync(at, folder ? constants.R_OK | constants.X_OK : constants.R_OK));
    const detail = folder ? 'the folder can be read; what is in it was not tried' : 'it can be read';
    return { check, verdict: 'pass', detail };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    return { check, verdict: 'fail', detail: error.message, ...hint };
  }
}

async function* compare(ctx: Context, expected: InventoryReader, actual: InventoryReader): AsyncIterable<Finding> {
  let [same, unread, unlike] = [0, 0, 0];
  for await (const pair of withoutParents(paired(ctx, expected, actual))) {
    const finding = judged(pair);
    if (finding.verdict === 'pass') {
      same += 1;
      if (detailOf(pair.actual?.detail).unread) unread += 1;
    } else if (++unlike <= NAMED_MAX) yield finding;
  }
  if (same > 0) yield alike(same, unread);
  if (unlike > NAMED_MAX) {
    yield { check: 'files are the same', verdict: 'fail', detail: `and ${unlike - NAMED_MAX} more paths are not` };
  }
}

function alike(same: number, unread: number): Finding {
  const finding = { check: 'files are the same', verdict: 'pass', detail: `${same} paths, equal digests` } as const;
  if (unread === 0) return finding;
  return { ...finding, detail: `${finding.detail}; ${unread} files as written, not read again`, unread: true };
}

/** A restored tree has directories that lead to the captured paths and were not captured themselves. */
async function* withoutParents(pairs: AsyncIterable<LinePair>): AsyncIterable<LinePair> {
  let parents: LinePair[] = [];
  for await (const pair of pairs) {
    if (!pair.expected && pair.actual && isDirectoryName(pair.actual.name)) {
      parents.push(pair);
      continue;
    }
    const next = pair.expected?.name ?? '';
    yield* parents.filter(({ actual }) => !next.startsWith(actual?.name ?? ''));
    parents = [];
    yield pair;
  }
  yield* parents;
}

function judged(pair: LinePair): Finding {
  const { expected, actual } = pair;
  const what = expected?.name ?? actual?.name ?? '';
  if (!expected || !actual) return judge(pair, what);
  const check = `${what} is the same`;
  const [was, is] = [detailOf(expected.detail), detailOf(actual.detail)];
  for (const field of ['type', 'target', 'mode'] as const) {
    if (was[field] === is[field]) continue;
    return { check, verdict: 'fail', detail: `its ${field} was ${was[field]} and is ${is[field]}` };
  }
  const isFile = was.type === 'file' || was.type === 'hardlink';
  const finding: Finding = isFile
    ? judge(shortened(expected, actual), what)
    : { check, verdict: 'pass', detail: String(was.type) };
  if (finding.verdict !== 'pass' || was.owner === is.owner) return finding;
  return {
    check,
    verdict: 'unknown',
    detail: `its owner was ${was.owner} and is ${is.owner}`,
    hint: 'only root can restore owners',
  };
}

function shortened(expected: InventoryLine, actual: InventoryLine): LinePair {
  const short = (line: InventoryLine): InventoryLine => {
    return line.digest === null ? line : { ...line, digest: shortDigest(line.digest) };
  };
  return { expected: short(expected), actual: short(actual) };
}

function detailOf(detail: unknown): Record<string, unknown> {
  return typeof detail === 'object' && detail !== null ? { ...detail } : {};
}
