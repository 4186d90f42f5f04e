// Single keys of a point: brought back as rows, and put into a live server after a look at what is there.

import { z } from 'zod';
import type { Chain } from '../../core/component.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, Merged, MergeMode, Row, Selection } from '../../core/model.ts';
import { hexOf } from '../../core/murmur.ts';
import { RDB_PART, serverTime } from './capture.ts';
import { type Connection, connect, refusal } from './connection.ts';
import { commandWriter } from './rdb/commands.ts';
import { digestingVisitor } from './rdb/digest.ts';
import { inputOf } from './rdb/input.ts';
import type { Family, KeyHead } from './rdb/visitor.ts';
import { walkDump } from './rdb/walk.ts';
import { refusedIn } from './resp.ts';
import { selectionOf } from './selection.ts';
import { canLoad, hasFieldExpiry, type ServerFacts, serverFacts } from './server.ts';
import type { Settings } from './settings.ts';
import { startWalk } from './walker.ts';

const name = z.union([z.string(), z.object({ base64: z.base64() })]);
const rowSchema = z.object({
  database: z.number().int().nonnegative(),
  name,
  expires_at: z.iso.datetime().nullable(),
  dump: z.object({ family: z.enum(['redis', 'valkey']), base64: z.base64() }),
});

/** Needs no server: what is in the RDB can be read without one. */
export async function* extract(
  ctx: Context,
  settings: Settings,
  { base, replay }: Chain,
  selection: Selection,
): AsyncIterable<Row> {
  if (replay) {
    throw new Failure('usage', 'single keys are taken from a point, not from a moment after it', {
      hint: 'restore the moment into another server, and take them from there',
    });
  }
  const select = selectionOf(settings, selection);
  let given = Promise.withResolvers<Row | null>();
  let taken = Promise.withResolvers<void>();
  const walk = startWalk(ctx, { kind: 'rows', select }, async ({ row }) => {
    if (!row) return;
    given.resolve(row);
    await taken.promise;
  });
  const reading = drain(walk.through(base.get(ctx, RDB_PART))).then(
    () => given.resolve(null),
    (error: unknown) => {
      given.promise.catch(() => {}); // nobody listens once enough rows were taken
      given.reject(error);
    },
  );
  try {
    for (let row = await given.promise; row !== null; row = await given.promise) {
      given = Promise.withResolvers();
      yield row;
      const before = taken;
      taken = Promise.withResolvers();
      before.resolve();
    }
  } finally {
    taken.resolve();
    await walk[Symbol.asyncDispose]();
    await reading;
  }
}

async function drain(body: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of body) {
    // The walk has seen it.
  }
}

/** `selection` has chosen the rows already. */
export async function merge(
  ctx: Context,
  settings: Settings,
  rows: AsyncIterable<Row>,
  mode: MergeMode,
): Promise<Merged> {
  await using connection = await connect(ctx, settings);
  const server = await serverFacts(connection);
  const counts = { missing: 0, different: 0, same: 0, applied: 0 };
  let expired = 0;
  let database = settings.database;
  for await (const row of rows) {
    const key = parseRow(row);
    if (key.database !== database) await connection.call('SELECT', key.database);
    ({ database } = key);
    if (key.expiresAt >= 0 && key.expiresAt <= (await serverTime(ctx, connection))) {
      expired += 1; // written, it would only delete what has its name now
      continue;
    }
    const state = await compareKey(connection, server, key);
    counts[state] += 1;
    if (mode === 'preview' || state === 'same' || (state === 'different' && mode === 'missing-only')) continue;
    await writeKey(connection, server, key);
    counts.applied += 1;
  }
  return { ...counts, ...(expired > 0 && { expired }) };
}

interface KeyRow {
  readonly database: number;
  readonly name: Buffer;
  readonly expiresAt: number;
  readonly family: Family;
  readonly dump: Buffer;
}

function parseRow({ key, value }: Row): KeyRow {
  const parsed = rowSchema.safeParse(value);
  if (!parsed.success) throw new Failure('malformed', `row ${key} is no key of a Redis`, { cause: parsed.error });
  const { database, expires_at: expires, dump, name: label } = parsed.data;
  return {
    database,
    name: typeof label === 'string' ? Buffer.from(label) : Buffer.from(label.base64, 'base64'),
    expiresAt: expires === null ? -1 : Date.parse(expires),
    family: dump.family,
    dump: Buffer.from(dump.base64, 'base64'),
  };
}

async function compareKey(
  connection: Connection,
  { family }: ServerFacts,
  key: KeyRow,
): Promise<'missing' | 'different' | 'same'> {
  const live = await connection.call('DUMP', key.name);
  if (!Buffer.isBuffer(live)) return 'missing';
  const expires = Number(await connection.call('PEXPIRETIME', key.name));
  const theirs = digestOf({ ...key, family, dump: live, expiresAt: Math.max(-1, expires) });
  return digestOf(key) === theirs ? 'same' : 'different';
}

function digestOf({ dump, family, name: bytes, expiresAt }: KeyRow): string {
  const digest = digestingVisitor();
  let text = '';
  walkDump(
    dump,
    family,
    { name: bytes, expiresAt },
    {
      ...digest.visitor,
      key(head) {
        digest.begin(head, true);
        return true;
      },
      end: (head) => void (text = hexOf(digest.finish(head))),
    },
  );
  return text;
}

async function writeKey(connection: Connection, server: ServerFacts, key: KeyRow): Promise<void> {
  const version = key.dump.readUInt16LE(key.dump.length - 10);
  if (canLoad(server.version, { family: key.family, version })) {
    await connection.call('RESTORE', key.name, Math.max(0, key.expiresAt), key.dump, 'REPLACE', 'ABSTTL');
    return;
  }
  const select = { databases: null, patterns: null };
  const options = {
    way: 'logical',
    select,
    replace: true,
    fieldExpiry: hasFieldExpiry(server.version),
    whole: false,
    ...{ now: 0, laterMs: 0 },
  } as const;
  const pieces: Buffer[] = [];
  let commands = 0;
  const input = inputOf(Buffer.alloc(0));
  const writer = commandWriter(input, options, (bytes, count) => {
    pieces.push(Buffer.from(bytes));
    commands += count;
  });
  const head: Partial<KeyHead> = { name: key.name, database: key.database, expiresAt: key.expiresAt };
  walkDump(key.dump, key.family, head, writer.visitor);
  writer.flush();
  if (writer.left.modules.size > 0) {
    const [module] = writer.left.modules.keys();
    throw new Failure(
      'version-mismatch',
      `${connection.where} can't take a value of module ${module} of another version`,
    );
  }
  let refused: string | null = null;
  await connection.send(Buffer.concat(pieces), commands, (reply) => {
    refused ??= refusedIn(reply);
  });
  await connection.call('PING'); // its answer comes after all others
  if (refused !== null) throw refusal(connection, 'a value', refused);
}
