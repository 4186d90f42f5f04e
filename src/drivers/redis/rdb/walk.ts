// Walks an RDB from its first byte to its check sum and tells a visitor what is in it: values, not encodings. Knows
// what Redis 7.0 to 8.2 and Valkey 7.2 to 9.1 write, and what Redis wrote before (versions 5 and up).

import { crc64Of } from './crc64.ts';
import {
  atEnd,
  capacityOf,
  ensure,
  type Input,
  inputOf,
  malformed,
  readByte,
  readLength,
  readMs,
  regionFor,
  settle,
} from './input.ts';
import { skipModule } from './module.ts';
import { itemText, readElement } from './strings.ts';
import { skipValue, walkValue } from './value.ts';
import { type Family, type Format, type KeyHead, type KeyType, unknown, type Visitor } from './visitor.ts';

const OPCODE = {
  slotInfo: 244,
  library: 245,
  moduleData: 247,
  idle: 248,
  frequency: 249,
  aux: 250,
  resize: 251,
  expiresMs: 252,
  expires: 253,
  database: 254,
  end: 255,
} as const;
const HEADER_BYTES = 9;
const CRC_BYTES = 8;
/** What most names fit into. */
const NAME_BYTES = 1024;

/** Resolves only when all is there: a cut, another check sum or trailing bytes are 'malformed'. */
export function walkRdb(input: Input, visitor: Visitor): Format {
  const format = readFormat(input);
  visitor.format?.(format);
  const head = newHead();
  for (let code = readByte(input); code !== OPCODE.end; code = readByte(input)) {
    if (code < OPCODE.slotInfo) visitKey(input, format, visitor, head, code);
    else readOpcode(input, visitor, head, code);
  }
  checkSum(input);
  if (!atEnd(input)) throw malformed('something follows its end');
  return format;
}

/** Walks the payload that DUMP gives and RESTORE takes: one value, its version and check sum. */
export function walkDump(payload: Buffer, family: Family, key: Partial<KeyHead>, visitor: Visitor): void {
  const body = payload.subarray(0, -CRC_BYTES);
  if (payload.length < 11 || !crc64Of(body).equals(payload.subarray(-CRC_BYTES))) {
    throw malformed('a dumped value has another check sum');
  }
  const format = { family, version: body.readUInt16LE(body.length - 2) };
  const input = inputOf(body.subarray(0, -2));
  const { name = Buffer.alloc(0), ...rest } = key;
  const head = Object.assign(newHead(), rest);
  setName(head, name, 0, name.length);
  head.encoding = readByte(input);
  head.type = typeOf(head.encoding, format);
  head.bytes = body.length;
  visitor.format?.(format);
  if (visitor.key(head)) walkValue(input, format, head, visitor);
  visitor.end(head);
}

/** The payload of a value whose RDB bytes are `value`, as RESTORE takes it. */
export function dumpOf(encoding: number, value: readonly Uint8Array[], version: number): Buffer {
  const footer = Buffer.alloc(2);
  footer.writeUInt16LE(version);
  const body = Buffer.concat([Buffer.from([encoding]), ...value, footer]);
  return Buffer.concat([body, crc64Of(body)]);
}

function newHead(): KeyHead {
  const numbers = { database: 0, encoding: 0, expiresAt: -1, idleSeconds: -1, frequency: -1, bytes: 0 };
  return {
    ...numbers,
    type: 'string',
    names: regionFor(NAME_BYTES),
    nameBytes: 0,
    get name() {
      return Buffer.from(this.names.bytes.subarray(0, this.nameBytes));
    },
  };
}

function setName(head: KeyHead, bytes: Buffer, from: number, to: number): void {
  if (capacityOf(head.names) < to - from) head.names = regionFor(to - from);
  bytes.copy(head.names.bytes, 0, from, to);
  head.nameBytes = to - from;
}

function readFormat(input: Input): Format {
  ensure(input, HEADER_BYTES);
  const text = input.window.bytes.toString('latin1', input.pos, input.pos + HEADER_BYTES);
  const [, magic, version] = /^(REDIS|VALKEY)(\d+)$/.exec(text) ?? [];
  if (version === undefined) throw malformed('it does not begin as one');
  input.pos += HEADER_BYTES;
  return { family: magic === 'VALKEY' ? 'valkey' : 'redis', version: Number(version) };
}

function visitKey(input: Input, format: Format, visitor: Visitor, head: KeyHead, encoding: number): void {
  head.encoding = encoding;
  head.type = typeOf(encoding, format);
  readElement(input);
  setName(head, input.item.bytes, input.from, input.to);
  const wanted = visitor.key(head);
  const start = input.offset + input.pos;
  if (wanted) walkValue(input, format, head, visitor);
  else skipValue(input, format, encoding);
  head.bytes = input.offset + input.pos - start;
  visitor.end(head);
  head.expiresAt = -1;
  head.idleSeconds = -1;
  head.frequency = -1;
}

function readOpcode(input: Input, visitor: Visitor, head: KeyHead, code: number): void {
  if (code === OPCODE.database) head.database = readLength(input);
  else if (code === OPCODE.expiresMs) head.expiresAt = readMs(input);
  else if (code === OPCODE.idle) head.idleSeconds = readLength(input);
  else if (code === OPCODE.frequency) head.frequency = readByte(input);
  else if (code === OPCODE.aux) readAux(input, visitor);
  else if (code === OPCODE.library) {
    readElement(input);
    visitor.library?.(Buffer.from(input.item.bytes.subarray(input.from, input.to)));
  } else if (code === OPCODE.expires) {
    ensure(input, 4);
    head.expiresAt = input.window.view.getInt32(input.pos, true) * 1000;
    input.pos += 4;
  } else if (code === OPCODE.resize) {
    for (let hints = 2; hints > 0; hints--) readLength(input);
  } else if (code === OPCODE.slotInfo) {
    for (let hints = 3; hints > 0; hints--) readLength(input);
  } else if (code === OPCODE.moduleData) {
    visitor.moduleData?.(skipModule(input));
  } else {
    throw unknown(`section ${code}`);
  }
}

function readAux(input: Input, visitor: Visitor): void {
  readElement(input);
  const name = itemText(input);
  readElement(input);
  visitor.aux?.(name, itemText(input));
}

function typeOf(encoding: number, { family }: Format): KeyType {
  const type = TYPES[encoding];
  if (type === undefined || (encoding > 22 && family === 'valkey')) throw unknown(`type ${encoding}`);
  return type;
}
const TYPES: readonly (KeyType | undefined)[] = [
  ...(['string', 'list', 'set', 'zset', 'hash', 'zset', undefined, 'module', undefined, undefined] as const),
  ...(['list', 'set', 'zset', 'hash', 'list', 'stream', 'hash', 'zset', 'list', 'stream'] as const),
  ...(['set', 'stream', 'hash', 'hash', 'hash', 'hash'] as const),
];

function checkSum(input: Input): void {
  settle(input);
  const { low, high } = input.crc;
  ensure(input, CRC_BYTES);
  const { view } = input.window;
  const [expectedLow, expectedHigh] = [view.getInt32(input.pos, true), view.getInt32(input.pos + 4, true)];
  input.pos += CRC_BYTES;
  // Zero is what a server writes that was told not to sum: rdbchecksum no.
  if (expectedLow === 0 && expectedHigh === 0) return;
  if (expectedLow !== low || expectedHigh !== high) throw malformed('its check sum is another one');
}
