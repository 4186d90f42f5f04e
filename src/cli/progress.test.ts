import assert from 'node:assert/strict';
import { test } from 'node:test';
import { terminalProgress } from './progress.ts';

/** The last line that a terminal of this width shows of a long capture. */
function lastLine(columns: number): string {
  let nowMs = 0;
  let text = '';
  const out = { columns, write: (more: string) => void (text = more) };
  const view = terminalProgress(out, () => nowMs);
  for (const mib of [0, 20, 40, 60]) {
    view.show({ task: 'main-db', phase: 'capture', bytes: mib * 2 ** 20, bytesTotal: 163 * 2 ** 20, items: 1 });
    nowMs += 1000;
  }
  return text.trimEnd();
}

test('progress shows bytes, rate and the time left on a terminal of 80 columns, and a bar where there is room', () => {
  assert.match(lastLine(80), /main-db +capture +█+░+ +36% +60\.0 MiB of 163 MiB +20\.0 MiB\/s +5\.2 s left$/);
  assert.match(lastLine(74), /capture +36% +60\.0 MiB of 163 MiB +20\.0 MiB\/s +5\.2 s left$/);
  for (const columns of [20, 74, 80, 200]) assert.ok(lastLine(columns).length < columns);
});

test('of a log that is followed a line says up to where it is stored', () => {
  let text = '';
  const view = terminalProgress({ columns: 80, write: (more) => void (text = more) }, () => 0);
  const note = 'stored up to 2026-06-01 12:00:07Z, 2.0 s ago';
  view.show({ task: 'main-db', phase: 'follow', bytes: 3 * 2 ** 20, items: 12, note });
  assert.match(text, /main-db +follow +3\.0 MiB +stored up to 2026-06-01 12:00:07Z, 2\.0 s ago\n$/);
});
