// Data for tests: every type in every encoding, odd names, several databases, expiries, functions.

import type { Context } from '../../core/model.ts';
import { type Connection, connect } from './connection.ts';
import { type Argument, encodeCommand, isError } from './resp.ts';
import { hasFieldExpiry, serverFacts } from './server.ts';
import { readSettings } from './settings.ts';

/** Far enough that no test sees it pass. */
const LATER_MS = Date.parse('2099-01-01T00:00:00Z');
export const ODD_NAMES: readonly Buffer[] = [
  Buffer.from([0, 255, 10, 13, 32]),
  Buffer.from('quote"\'\n*[glob]?\\'),
  Buffer.from('schlüssel:日本'),
  Buffer.from(''),
];

export async function open(ctx: Context, settings: object): Promise<Connection> {
  return await connect(ctx, readSettings(settings));
}

/** Sends many commands at once; the first refusal is thrown. */
export async function pipeline(connection: Connection, commands: Iterable<readonly Argument[]>): Promise<void> {
  let refused = '';
  let batch: Buffer[] = [];
  const send = async (): Promise<void> => {
    await connection.send(Buffer.concat(batch), batch.length, (reply) => {
      if (isError(reply) && refused === '') refused = reply.error;
    });
    batch = [];
  };
  for (const command of commands) {
    batch.push(encodeCommand(command));
    if (batch.length === 1000) await send();
  }
  if (batch.length > 0) await send();
  await connection.call('PING');
  if (refused !== '') throw new Error(refused);
}

/** Fills a server with what its version knows. Twice the same data in other encodings when `compact` differs. */
export async function fill(ctx: Context, settings: object, compact: boolean): Promise<void> {
  await using connection = await open(ctx, settings);
  const { version } = await serverFacts(connection);
  await connection.call('CONFIG', 'SET', 'rdbcompression', compact ? 'yes' : 'no');
  const limits = compact ? ['512', '128', '64'] : ['1', '1', '1'];
  const kinds = ['hash-max-listpack', 'zset-max-listpack', 'set-max-listpack'] as const;
  await connection.call('CONFIG', 'SET', 'list-max-listpack-size', compact ? '-2' : '2');
  for (const kind of kinds) {
    await connection.ask('CONFIG', 'SET', `${kind}-entries`, limits[0] ?? '');
    await connection.ask('CONFIG', 'SET', `${kind}-value`, limits[2] ?? '');
  }
  await connection.call('CONFIG', 'SET', 'set-max-intset-entries', limits[0] ?? '');
  await connection.call('CONFIG', 'SET', 'stream-node-max-entries', compact ? '100' : '3');
  await pipeline(connection, [...plainValues(), ...collections(), ...streams(), ...otherDatabases()]);
  if (hasFieldExpiry(version)) await pipeline(connection, expiringFields());
  const library = "#!lua name=lifeboat\nredis.register_function('answer', function() return 42 end)";
  await connection.call('FUNCTION', 'LOAD', library);
}

function* plainValues(): Iterable<readonly Argument[]> {
  const numbers = ['0', '-1', '127', '-129', '32768', '2147483647', '-2147483649', '9223372036854775807', '007', '1.5'];
  for (const number of numbers) yield ['SET', `number:${number}`, number];
  yield ['SET', 'empty', ''];
  yield ['SET', 'binary', Buffer.from([0, 1, 2, 255, 254])];
  yield ['SET', 'compressible', 'abcdefgh'.repeat(5_000)];
  yield ['SET', 'large', Buffer.concat([Buffer.alloc(700_000, 'x'), Buffer.from('end'), Buffer.alloc(70_000, 'yz')])];
  yield ['SET', 'passing', 'away', 'PXAT', LATER_MS];
  yield ['SET', 'passing:sooner', 'away', 'PXAT', LATER_MS - 3_600_000 * 30];
  yield ['SETBIT', 'bits', 4_000, 1];
  yield ['PFADD', 'visitors', 'a', 'b', 'c'];
  for (const name of ODD_NAMES) yield ['SET', name, 'odd'];
  for (let n = 0; n < 300; n++) yield ['SET', `many:${n}`, `value ${n}`];
}

function* collections(): Iterable<readonly Argument[]> {
  const words = Array.from({ length: 40 }, (_, n) => `word ${n}`);
  const integers = ['5', '-5', '300', '70000', '-70000', '9000000000', '12345678', '-2', '4096', '-4097'];
  yield ['RPUSH', 'list', ...words, ...integers, 'l'.repeat(300), 'x'.repeat(20_000)];
  yield ['SADD', 'set', ...words, 's'.repeat(70)];
  yield ['SADD', 'set:integers', ...integers];
  yield ['SADD', 'set:small', '1', '2', '3'];
  yield ['ZADD', 'zset', ...words.flatMap((word, n) => [n / 3, word]), 'inf', 'top', '-inf', 'bottom', '1e300', 'high'];
  yield ['ZADD', 'zset', '-0', 'zero', '3', '17', '0.1', 'z'.repeat(70)];
  yield ['HSET', 'hash', ...words.flatMap((word, n) => [word, `${n}`]), 'long', 'h'.repeat(5_000)];
  yield ['HSET', 'hash:huge', 'field', 'v'.repeat(100_000), 'after', 'x'];
  yield ['GEOADD', 'places', '13.361389', '38.115556', 'Palermo'];
  yield ['PEXPIREAT', 'list', LATER_MS];
  yield ['PEXPIREAT', 'hash', LATER_MS];
}

function* streams(): Iterable<readonly Argument[]> {
  for (let n = 1; n <= 10; n++) yield ['XADD', 'stream', `${n}-1`, 'name', `n ${n}`, 'size', n];
  yield ['XADD', 'stream', '11-1', 'other', 'field', 'name', 'n 11', 'third', 't'.repeat(200)];
  yield ['XADD', 'stream', '18446744073709551000-7', 'far', 'away'];
  yield ['XDEL', 'stream', '3-1'];
  yield ['XGROUP', 'CREATE', 'stream', 'readers', '0'];
  yield ['XGROUP', 'CREATE', 'stream', 'idle', '5-1'];
  yield ['XREADGROUP', 'GROUP', 'readers', 'alice', 'COUNT', '4', 'STREAMS', 'stream', '>'];
  yield ['XREADGROUP', 'GROUP', 'readers', 'bob', 'COUNT', '2', 'STREAMS', 'stream', '>'];
  yield ['XACK', 'stream', 'readers', '2-1'];
  yield ['XGROUP', 'CREATECONSUMER', 'stream', 'readers', 'waiting'];
  yield ['XGROUP', 'CREATE', 'stream:empty', 'group', '$', 'MKSTREAM'];
  yield ['XADD', 'stream:emptied', '5-5', 'a', 'b'];
  yield ['XDEL', 'stream:emptied', '5-5'];
}

function* otherDatabases(): Iterable<readonly Argument[]> {
  for (let database = 1; database < 16; database++) {
    yield ['SELECT', database];
    yield ['SET', 'database', database];
    yield ['RPUSH', 'items', 'a', 'b', database];
  }
  yield ['SELECT', 0];
}

function* expiringFields(): Iterable<readonly Argument[]> {
  yield ['HSET', 'hash:fields', 'stays', '1', 'goes', '2', 'goes later', '3'];
  yield ['HPEXPIREAT', 'hash:fields', LATER_MS, 'FIELDS', 1, 'goes'];
  yield ['HPEXPIREAT', 'hash:fields', LATER_MS + 60_000, 'FIELDS', 1, 'goes later'];
  yield ['HSET', 'hash:fields:long', 'stays', '1', 'goes', 'g'.repeat(300)];
  yield ['HPEXPIREAT', 'hash:fields:long', LATER_MS, 'FIELDS', 1, 'goes'];
}
