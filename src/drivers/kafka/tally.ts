// What is counted and digested of a partition while its batches go by.

import type { InventoryLevel } from '../../core/model.ts';
import { type Batch, eachRecord, recordsOf } from './batches.ts';
import { type Chain, type Chainer, chainer } from './hash.ts';

export interface Tally {
  /** Records before `from` are not counted: they are of a batch that reaches over the start of the log. */
  add(batch: Batch, from: number): void;
  readonly records: number;
  /** Null where nothing was digested. */
  chain(): Chain | null;
}

export function tallyOf(level: InventoryLevel, what: string): Tally {
  const digest = level === 'full' ? chainer() : null;
  let records = 0;
  return {
    add(batch, from) {
      if (digest) records += digestBatch(digest, batch, from, what);
      else records += batch.first >= from ? batch.count : countBefore(batch, Number.POSITIVE_INFINITY, from, what);
    },
    get records() {
      return records;
    },
    chain: () => digest?.chain() ?? null,
  };
}

/** How many of the batch's records lie from offset `from` to before `before`. */
export function countBefore(batch: Batch, before: number, from: number, what: string): number {
  if (batch.count === batch.last - batch.first + 1) {
    return Math.max(0, Math.min(before, batch.last + 1) - Math.max(from, batch.first));
  }
  let count = 0;
  eachRecord(batch, recordsOf(batch, what), what, ({ offset }) => {
    if (offset >= from && offset < before) count += 1;
  });
  return count;
}

function digestBatch(digest: Chainer, batch: Batch, from: number, what: string): number {
  const data = recordsOf(batch, what);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  let count = 0;
  eachRecord(batch, data, what, (record) => {
    if (record.offset < from) return;
    digest.add(view, record.from, record.to, record.timeHigh, record.timeLow);
    count += 1;
  });
  return count;
}
