import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { paceOf } from '../../core/pace.ts';
import { testContext } from '../../core/testing.ts';
import { close, openRoot } from '../beneath.ts';
import type { Entry } from './entries.ts';
import { startMaker } from './maker.ts';
import { stepsFrom } from './steps.ts';
import { freshDir } from './testing.ts';
import type { FileState } from './written.ts';

const FOLDER_MODE = 0o750;

function entryOf(name: string, text: string): Entry {
  const sha256 = createHash('sha256').update(text).digest('hex');
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  return { name, type: 'file', mode: 0o640, uid, gid, mtime_ns: '1700000000000000000', bytes: text.length, sha256 };
}

/** Makes these files, each in a folder of its own, which gets its mode once it is left. */
async function making(target: string, files: readonly (readonly [string, string, string])[]) {
  const ctx = testContext();
  const root = openRoot(target);
  const states = new Map<string, FileState>();
  const left: string[] = [];
  const steps = stepsFrom(root, {
    modeOf: () => FOLDER_MODE,
    leave: ({ name, dir }) => left.push(`${name} with ${readdirSync(`/proc/self/fd/${dir.fd}`).length}`),
  });
  const open = (): number => readdirSync('/proc/self/fd').length;
  const openBefore = open();
  try {
    await using maker = startMaker(ctx, {
      steps,
      overwrite: false,
      pace: paceOf(1000),
      made: ({ name }, state) => void states.set(name, state),
    });
    for (const [folder, name, text] of files) {
      const level = steps.to(folder);
      assert.ok(level);
      // The bytes are borrowed.
      const lent = Buffer.from(text);
      const added = maker.add(level, entryOf(folder + name, text === 'broken' ? 'whole' : text), lent);
      lent.fill(0);
      await added;
    }
    await maker.end();
    steps.finish();
  } finally {
    steps.end();
    assert.ok(open() <= openBefore, 'no directory stays open');
    close(root);
  }
  return { states, left };
}

test('a folder is left once all its files are made, and what they are then is told', async () => {
  const target = freshDir();
  const files = Array.from({ length: 300 }, (_, i) => [`/d${String(i).padStart(3, '0')}/`, 'f', `text ${i}`] as const);
  const { states, left } = await making(target, files);
  assert.equal(states.size, 300);
  for (const [folder, name, text] of files) {
    const path = join(target, folder, name);
    assert.equal(readFileSync(path, 'utf8'), text);
    const { ino, ctimeNs } = lstatSync(path, { bigint: true });
    assert.deepEqual([states.get(folder + name)?.ino, states.get(folder + name)?.ctimeNs], [ino, ctimeNs]);
    assert.equal(statSync(path).mode & 0o777, 0o640);
  }
  assert.deepEqual(
    left.filter((each) => each !== '/ with 300').toSorted(),
    files.map(([folder]) => `${folder} with 1`),
  );
});

test('what can not be made is told with the code that it has, and no folder stays open', async () => {
  const target = freshDir();
  mkdirSync(join(target, 'a'));
  writeFileSync(join(target, 'a/there'), 'precious');
  const there = making(target, [
    ['/a/', 'other', 'fine'],
    ['/a/', 'there', 'new'],
  ]);
  await assert.rejects(there, { code: 'target-not-empty', message: /a\/there is there already/ });
  assert.equal(readFileSync(join(target, 'a/there'), 'utf8'), 'precious');
  await assert.rejects(making(freshDir(), [['/b/', 'f', 'broken']]), { code: 'checksum' });
  const waiting = making(target, [
    ['/b/', 'f', 'fine'],
    ['/a/there/', 'f', 'in the place of a file'],
  ]);
  await assert.rejects(waiting, { code: 'target-not-empty', message: /a file where a directory must be/ });
});
