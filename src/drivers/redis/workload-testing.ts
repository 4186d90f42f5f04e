// What applications do to a Redis, at random: all types, transactions, scripts, several databases, expiries.

import type { Context } from '../../core/model.ts';
import { type Argument, encodeCommand, isError } from './resp.ts';
import { hasFieldExpiry, serverFacts } from './server.ts';
import { open } from './testing.ts';

/** A small generator, so that a seed tells all of a run. */
export function randomBelow(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    const mixed = Math.imul(state ^ (state >>> 13), 0x297a2d39) >>> 0;
    return ((mixed ^ (mixed >>> 16)) >>> 0) % limit;
  };
}

const STAMP = "local t = redis.call('TIME') redis.call('RPUSH', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000))";
const SCRIPT = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('INCR', KEYS[2]) return redis.call('SPOP', KEYS[3])";

/** Works until the signal says so. `ticks` in database 0 gets the server's time again and again. */
export async function work(ctx: Context, settings: object, seed: number): Promise<void> {
  await using connection = await open(ctx, settings);
  const below = randomBelow(seed);
  const { version } = await serverFacts(connection);
  const later = hasFieldExpiry(version);
  while (!ctx.signal.aborted) {
    const batch = Array.from({ length: 1 + below(20) }, () => commandsAt(below, later)).flat();
    // What is of the wrong type is refused, as it is to applications.
    await connection.send(Buffer.concat(batch.map(encodeCommand)), batch.length, () => {});
    const reply = await connection.ask('PING');
    if (isError(reply)) throw new Error(reply.error);
    await new Promise((resolve) => setTimeout(resolve, below(8)));
  }
}

type Command = readonly Argument[];

function commandsAt(below: (limit: number) => number, fieldExpiry: boolean): Command[] {
  const key = (type: string): string => `${type}:${below(12)}`;
  const value = (): string => 'v'.repeat(below(below(10) === 0 ? 20_000 : 60)) + below(1000);
  const soon = (): number => 50 + below(1500);
  const choices: (() => Command[])[] = [
    () => [['SELECT', below(4)]],
    () => [['SET', key('string'), value()]],
    () => [['SET', key('string'), value(), 'PX', soon()]],
    () => [['INCRBYFLOAT', key('number'), '0.1']],
    () => [['APPEND', key('string'), value()]],
    () => [['SETRANGE', key('string'), below(100), value()]],
    () => [['PEXPIRE', key('string'), soon()]],
    () => [['GETEX', key('string'), 'EX', 100]],
    () => [['PERSIST', key('string')]],
    () => [['GETDEL', key('string')]],
    () => [['RPUSH', key('list'), value(), value()]],
    () => [['LPOP', key('list'), 2]],
    () => [['LMOVE', key('list'), key('list'), 'LEFT', 'RIGHT']],
    () => [['BLPOP', key('list'), '0.001']],
    () => [['SADD', key('set'), value(), value(), below(50)]],
    () => [['SPOP', key('set')]],
    () => [['SUNIONSTORE', key('set'), key('set'), key('set')]],
    () => [['SORT', key('set'), 'ALPHA', 'STORE', key('list')]],
    () => [['ZADD', key('zset'), below(100) / 3, value()]],
    () => [['ZINCRBY', key('zset'), '0.7', 'member']],
    () => [['ZPOPMIN', key('zset')]],
    () => [['HSET', key('hash'), value(), value(), 'field', below(10)]],
    () => [['HINCRBYFLOAT', key('hash'), 'float', '0.3']],
    () => [['HDEL', key('hash'), 'field']],
    () => [['XADD', key('stream'), 'MAXLEN', '~', 100, '*', 'name', value()]],
    () => [['XGROUP', 'CREATE', key('stream'), 'group', '$', 'MKSTREAM']],
    () => [['XREADGROUP', 'GROUP', 'group', `consumer:${below(3)}`, 'COUNT', 3, 'STREAMS', key('stream'), '>']],
    () => [['XAUTOCLAIM', key('stream'), 'group', 'claimer', 0, '0', 'COUNT', 2]],
    () => [['XDEL', key('stream'), '1-1']],
    () => [['PFADD', key('string'), value()]],
    () => [['GEOADD', key('zset'), below(90), below(80), value()]],
    () => [['SETBIT', key('string'), below(5000), 1]],
    () => [['COPY', key('string'), key('string'), 'REPLACE']],
    () => [['RENAME', key('string'), key('string')]],
    () => [['MOVE', key('set'), below(4)]],
    () => (below(20) === 0 ? [['SWAPDB', 1, 2]] : []),
    () => (below(40) === 0 ? [['FLUSHDB']] : []),
    () => [['EVAL', SCRIPT, 3, key('string'), key('number'), key('set'), value()]],
    () => [
      [
        'FUNCTION',
        'LOAD',
        'REPLACE',
        `#!lua name=lib${below(2)}\nredis.register_function('f', function() return ${below(9)} end)`,
      ],
    ],
    () => [['MULTI'], ['SELECT', 0], ['INCR', 'left'], ['SET', key('string'), value()], ['INCR', 'right'], ['EXEC']],
    () => [['MULTI'], ['RPUSH', key('list'), 'a'], ['PEXPIRE', key('list'), soon()], ['EXEC']],
    () => [['MULTI'], ['SELECT', 0], ['EVAL', STAMP, 1, 'ticks'], ['EXEC']],
    () => [['PUBLISH', 'channel', value()]],
  ];
  if (fieldExpiry) {
    choices.push(
      () => [['HPEXPIRE', key('hash'), soon(), 'FIELDS', 1, 'field']],
      () => [['HSET', key('hash'), 'field', value()]],
    );
  }
  return choices[below(choices.length)]?.() ?? [];
}
