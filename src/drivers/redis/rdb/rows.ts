// Keys of an RDB as rows: readable, and as the payload that puts them back exactly.

import { isUtf8 } from 'node:buffer';
import { Failure } from '../../../core/errors.ts';
import type { Json, Row } from '../../../core/model.ts';
import { type Input, type Region, tapInput } from './input.ts';
import { type KeySelection, selector } from './select.ts';
import type { Format, KeyHead, StreamId, Visitor } from './visitor.ts';
import { dumpOf } from './walk.ts';

/** What a key is as a whole may not be larger than this in a row; restore it into a server instead. */
const ROW_BYTES_MAX = 64 * 1024 * 1024;

/** `emit` gets every chosen key. */
export function rowVisitor(input: Input, select: KeySelection, emit: (row: Row) => void): Visitor {
  const chosen = selector(select);
  const readable = readableVisitor();
  const raw: Buffer[] = [];
  let format: Format = { family: 'redis', version: 0 };
  let wanted = false;
  let bytes = 0;

  function collect(head: KeyHead, piece: Uint8Array): void {
    raw.push(Buffer.from(piece));
    bytes += piece.length;
    if (bytes <= ROW_BYTES_MAX) return;
    throw new Failure('value-too-large', `key ${keyText(head.name)} has more than ${ROW_BYTES_MAX} bytes`, {
      hint: 'restore it into another server: restore --select with a pattern, --to another target',
    });
  }
  return {
    ...readable.visitor,
    format(read) {
      format = read;
    },
    key(head) {
      wanted = chosen(head.database, head.name);
      if (!wanted) return false;
      bytes = 0;
      readable.begin(head);
      tapInput(input, (piece) => collect(head, piece));
      return true;
    },
    end(head) {
      if (!wanted) return;
      tapInput(input, null);
      const dump = dumpOf(head.encoding, raw.splice(0), format.version);
      emit({
        key: keyText(head.name),
        value: {
          database: head.database,
          name: jsonOf(head.name),
          type: head.type,
          expires_at: head.expiresAt < 0 ? null : new Date(head.expiresAt).toISOString(),
          value: readable.value(),
          dump: { family: format.family, base64: dump.toString('base64') },
        },
      });
    },
  };
}

/** A key's name for people and as a row's key: bytes that are no text as \xHH. */
function keyText(name: Buffer): string {
  const text = isUtf8(name) ? name.toString() : name.toString('latin1');
  const odd = isUtf8(name) ? /[\\\p{Cc}]/gu : /[^ -[\]-~]/g;
  return text.replace(odd, (sign) =>
    sign === '\\' ? '\\\\' : `\\x${sign.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Text as it is, other bytes as base64. */
function jsonOf(bytes: Buffer): Json {
  return isUtf8(bytes) ? bytes.toString() : { base64: bytes.toString('base64') };
}

interface Readable {
  readonly visitor: Omit<Visitor, 'key' | 'end'>;
  begin(head: KeyHead): void;
  value(): Json;
}

function readableVisitor(): Readable {
  let type = '';
  let pieces: Buffer[] = [];
  let items: Json[] = [];
  let groups: { name: Json; last: string; pending: Json[] }[] = [];
  return {
    begin(head) {
      ({ type } = head);
      pieces = [];
      items = [];
      groups = [];
    },
    value() {
      if (type === 'string') return jsonOf(Buffer.concat(pieces));
      if (type === 'module') return null;
      return type === 'stream' ? { entries: items, groups } : items;
    },
    visitor: {
      text: (region, from, to) => void pieces.push(copied(region, from, to)),
      item(region, from, to) {
        if (type === 'module') return;
        const last = items.at(-1);
        if (type === 'stream' && isEntry(last)) last.fields.push(jsonOf(copied(region, from, to)));
        else items.push(jsonOf(copied(region, from, to)));
      },
      score(score) {
        items.push({ member: items.pop() ?? null, score: Number.isFinite(score) ? score : String(score) });
      },
      fieldExpires(ms) {
        const [field = null, value = null] = items.splice(-2);
        items.push({ field, value, ...(ms < 0 ? {} : { expires_at: new Date(ms).toISOString() }) });
      },
      module: () => {},
      entry: (id) => void items.push({ id: idText(id), fields: [] }),
      streamState: () => {},
      group: ({ name, last }) => void groups.push({ name: jsonOf(name), last: idText(last), pending: [] }),
      pending: (id, _deliveredAt, deliveries) => void groups.at(-1)?.pending.push({ id: idText(id), deliveries }),
      consumer: () => {},
      consumerPending: () => {},
    },
  };
}

function isEntry(item: Json | undefined): item is { id: string; fields: Json[] } {
  return typeof item === 'object' && item !== null && 'fields' in item;
}

function copied({ bytes }: Region, from: number, to: number): Buffer {
  return Buffer.from(bytes.subarray(from, to));
}

function idText({ ms, seq }: StreamId): string {
  return `${ms}-${seq}`;
}
