// Which bytes of a log a replay goes through, without a server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Replay, ReplayRange } from '../../core/component.ts';
import type { Lineage } from '../../core/journal.ts';
import { testContext } from '../../core/testing.ts';
import { positionOf, sourceOf } from './position.ts';
import { records } from './records.ts';
import { logUpTo } from './replay.ts';
import { encodeCommand } from './resp.ts';

const [A, B] = ['a', 'b'].map((letter, at): Lineage => {
  const from = { position: positionOf(0n), at: '' };
  return { id: `${at}`, from, base: null, why: '', source: sourceOf(letter.repeat(40)), parent: null, begunAt: '' };
}) as [Lineage, Lineage];

/** A command of 25 bytes for each moment. */
function rangeOf(lineage: Lineage, from: number, moments: readonly number[]): ReplayRange {
  const room = records(4096);
  for (const ms of moments) room.add(encodeCommand(['SET', `${ms}`.padStart(3), 'v']), ms);
  const { body, bytes, lastAt } = room.taken();
  assert.equal(bytes, moments.length * COMMAND_BYTES);
  const cut = (offset: number): { position: string; at: string } => {
    return { position: positionOf(BigInt(offset)), at: new Date(lastAt).toISOString() };
  };
  return { lineage, from: cut(from), to: cut(from + bytes), at: '', body };
}
const COMMAND_BYTES = encodeCommand(['SET', 'abc', 'v']).length;

test('what the old master did after another one took over ends no replay of that one', async () => {
  const until = positionOf(BigInt(COMMAND_BYTES));
  const all = [{ ...rangeOf(A, 0, [10, 90]), until }, rangeOf(B, COMMAND_BYTES, [20, 30, 80])];
  const replay: Replay = {
    target: { kind: 'time', at: new Date(50).toISOString() },
    end: all[1]?.to ?? assert.fail(),
    lineages: [A, B],
    async *ranges() {
      yield* all;
    },
  };
  const log = logUpTo(testContext(), replay, positionOf(0n));
  const text = Buffer.concat(await Array.fromAsync(log.bytes)).toString();
  assert.deepEqual(text.match(/\d\d(?=\r\n\$1)/g), ['10', '20', '30']);
});
