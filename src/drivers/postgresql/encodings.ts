// Texts that pg_dump wrote in the encoding of a database. The server says what they are: it knows encodings that
// JavaScript does not, and reads the others as it does for our sessions, which so find the same names there.

import { isAscii, isUtf8 } from 'node:buffer';
import type { Context } from '../../core/model.ts';
import { isUnicode, type RawToc, type Toc } from './archive.ts';
import { connect, type Session } from './connection.ts';
import type { Server } from './settings.ts';

const NAMES_PER_QUERY = 1000;

export async function decoded(session: Session, bytes: Uint8Array, encoding: string): Promise<string> {
  const [[text] = []] = await session.texts('select convert_from($1, $2)', [bytes, encoding]);
  return text ?? '';
}

/** The table of contents with its names as they are. `database` is where they come from. */
export async function withNames(ctx: Context, server: Server, database: string, raw: RawToc): Promise<Toc> {
  const { encoding, ...toc } = raw;
  if (isUnicode(encoding)) return toc;
  const names = new Map<string, string>();
  for (const { schema, name, owner, tablespace } of toc.entries) {
    for (const each of [schema, name]) if (!isAscii(bytesOf(each))) names.set(each, each);
    for (const each of [owner, tablespace]) if (!isUtf8(bytesOf(each))) names.set(each, each);
  }
  if (names.size > 0) {
    await using session = await connect(ctx, server, database);
    const open = [...names.keys()];
    for (let start = 0; start < open.length; start += NAMES_PER_QUERY) {
      const some = open.slice(start, start + NAMES_PER_QUERY);
      const query = 'select convert_from(b, $2) from unnest($1::bytea[]) with ordinality o (b, i) order by i';
      const texts = await session.texts(query, [some.map(bytesOf), encoding]);
      for (const [i, name] of some.entries()) names.set(name, texts[i]?.[0] ?? name);
    }
  }
  const own = (name: string): string => names.get(name) ?? name;
  // All databases have these, whatever their encodings: those that were made in one of UTF-8 are still in it.
  const shared = (name: string): string => (isUtf8(bytesOf(name)) ? bytesOf(name).toString() : own(name));
  const entries = toc.entries.map(({ schema, name, owner, tablespace, ...entry }) => ({
    ...entry,
    ...{ schema: own(schema), name: own(name), owner: shared(owner), tablespace: shared(tablespace) },
  }));
  return { ...toc, entries };
}

function bytesOf(name: string): Buffer {
  return Buffer.from(name, 'latin1');
}
