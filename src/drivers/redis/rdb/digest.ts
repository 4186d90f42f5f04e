// The digest of one value, whatever it was encoded as: sets, hashes and sorted sets do not depend on their order.

import { addLanes, foldLanes, hashBytes, hashWords, type Lanes, lanes } from '../../../core/murmur.ts';
import { type Region, viewed } from './input.ts';
import type { KeyHead, KeyType, StreamId, Visitor } from './visitor.ts';

const KEY_SEED = 0x6b657973;
const ELEMENT_SEED = 0x656c656d;
const WORDS = new DataView(new ArrayBuffer(8));
const TYPE_CODES: Readonly<Record<KeyType, number>> = {
  string: 1,
  list: 2,
  set: 3,
  zset: 4,
  hash: 5,
  stream: 6,
  module: 7,
};

/** The digest of the one value that a visitor was led through. */
export interface ValueDigest {
  readonly visitor: Omit<Visitor, 'key' | 'end'>;
  readonly value: {
    module: string;
    /** The earliest of a hash's fields; Infinity when none expires. */
    fieldExpiresAt: number;
    /** The RDB does not tell all of it. */
    incomplete: boolean;
  };
  /** Of a value that is not digested, `value` is all that there is. */
  begin(head: KeyHead, digested: boolean): void;
  finish(head: KeyHead): Lanes;
}

export function digestingVisitor(): ValueDigest {
  const key = lanes();
  const element = lanes();
  const sum = lanes();
  const value = { module: '', fieldExpiresAt: Number.POSITIVE_INFINITY, incomplete: false };
  let type: KeyType = 'string';
  let inPair = false;

  function sumElement(): void {
    addLanes(sum, element);
    inPair = false;
  }
  function item(region: Region, from: number, to: number): void {
    if (type === 'list' || type === 'stream') {
      hashBytes(key, region.view, from, to);
      return;
    }
    if (!inPair) element.fill(ELEMENT_SEED);
    hashBytes(element, region.view, from, to);
    inPair = true;
    // A module writes the same value in any order: what it wrote is summed, piece by piece.
    if (type === 'set' || type === 'module') sumElement();
  }
  return {
    value,
    begin(head, digested) {
      value.module = '';
      value.fieldExpiresAt = Number.POSITIVE_INFINITY;
      value.incomplete = false;
      if (!digested) return;
      type = head.type;
      inPair = false;
      key.fill(KEY_SEED);
      sum.fill(0);
      hashBytes(key, head.names.view, 0, head.nameBytes);
      hashWords(key, TYPE_CODES[type], Math.floor(head.expiresAt / 2 ** 32), head.expiresAt, 0);
    },
    finish() {
      foldLanes(key, sum);
      return key;
    },
    visitor: {
      text: (region, from, to) => hashBytes(key, region.view, from, to),
      item,
      score(score) {
        WORDS.setFloat64(0, score === 0 ? 0 : score); // -0 is 0
        hashWords(element, WORDS.getInt32(0), WORDS.getInt32(4), 0, 0);
        sumElement();
      },
      fieldExpires(ms) {
        if (ms >= 0) value.fieldExpiresAt = Math.min(value.fieldExpiresAt, ms);
        hashWords(element, Math.floor(ms / 2 ** 32), ms, 0, 0);
        sumElement();
      },
      module(module) {
        value.module = module;
        hashName(key, Buffer.from(module));
      },
      ...streamDigest(key, value),
    },
  };
}

type StreamPart = 'entry' | 'streamState' | 'group' | 'pending' | 'consumer' | 'consumerPending';

/** Streams are in order, so all of them folds into the key. Who was connected when is not data and left out. */
function streamDigest(key: Lanes, value: ValueDigest['value']): Pick<Visitor, StreamPart> {
  return {
    entry(id, fields) {
      hashId(key, id, 1);
      hashWords(key, fields, 0, 0, 0);
    },
    streamState({ length, last, counters }) {
      hashId(key, last, 2);
      hashWords(key, length, 0, 0, 0);
      if (counters === null) value.incomplete = true;
      else {
        hashId(key, counters.maxDeleted, 3);
        hashNumber(key, counters.added, 4);
      }
    },
    group(group) {
      hashName(key, group.name);
      hashId(key, group.last, 5);
      hashNumber(key, group.read ?? -1, 6);
    },
    pending(id, deliveredAt, deliveries) {
      hashId(key, id, 7);
      hashWords(key, Math.floor(deliveredAt / 2 ** 32), deliveredAt, deliveries, 0);
    },
    consumer: (name) => hashName(key, name),
    consumerPending: (id) => hashId(key, id, 8),
  };
}

function hashName(key: Lanes, bytes: Buffer): void {
  hashBytes(key, viewed(bytes).view, 0, bytes.length);
}
function hashId(key: Lanes, { ms, seq }: StreamId, tag: number): void {
  hashNumber(key, ms, tag);
  hashNumber(key, seq, tag);
}
function hashNumber(key: Lanes, number: number | bigint, tag: number): void {
  if (typeof number === 'number') {
    hashWords(key, tag, Math.floor(number / 2 ** 32), number, 0);
    return;
  }
  WORDS.setBigUint64(0, number);
  hashWords(key, tag, WORDS.getInt32(0), WORDS.getInt32(4), 0);
}
