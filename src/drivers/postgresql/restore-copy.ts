// Sessions that are given rows of tables as pg_restore would give them: their settings and statements are its own, but
// for FREEZE, which spares the server a second writing of all pages when they are first read.

import { z } from 'zod';
import type { Bytes, Context } from '../../core/model.ts';
import { type CopyTexts, damaged, type TocEntry } from './archive.ts';
import { connect, type Session } from './connection.ts';
import { decoded } from './encodings.ts';
import { literal } from './names.ts';
import type { Server } from './settings.ts';

const NAME = '(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)';
const COPY = new RegExp(`^COPY (${NAME}\\.${NAME}) (\\(${NAME}(?:, ${NAME})*\\))? ?FROM stdin;\\n$`);

/** What pg_restore sets, in a session that has else what server, database and role give to any. */
const AS_PG_RESTORE = `reset all;
  set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0;
  set idle_session_timeout = 0; set standard_conforming_strings = on; set search_path to ''; set xmloption = content;
  set client_min_messages = warning; set row_security = off`;

export interface CopySession extends AsyncDisposable {
  /** `alone`: no other session has rows of this table. */
  copy(table: TocEntry, rows: Bytes, options: { readonly alone: boolean }): Promise<void>;
}

export async function openCopies(
  ctx: Context,
  server: Server,
  database: string,
  { encoding, statements }: CopyTexts,
): Promise<CopySession> {
  const session = await connect(ctx, server, database);
  try {
    await session.run(session.major >= 17 ? `${AS_PG_RESTORE}; set transaction_timeout = 0` : AS_PG_RESTORE);
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
  return {
    async copy({ id, name }, rows, { alone }) {
      const text = statements.get(id) ?? Buffer.alloc(0);
      // Names are in the encoding of the archive as well.
      const statement = await decoded(session, text, encoding);
      const [, table, columns = ''] = COPY.exec(statement) ?? [];
      if (table === undefined) throw damaged(`it does not say how the rows of ${name} are copied`);
      await session.run('begin');
      const frozen = alone && (await emptied(session, table)) ? ', freeze' : '';
      await session.copy(`copy ${table} ${columns} from stdin with (encoding ${literal(encoding)}${frozen})`, rows);
      await session.run('commit');
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

/** Of a table that this restore has made. Rows of some partitions go into what they are partitions of. */
const ORDINARY = `select relkind = 'r' and not exists (select from pg_depend
  where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e') as ordinary
  from pg_class c where oid = $1::regclass`;

/**
 * Whether rows can come frozen, which the server allows in what this transaction has truncated. Nothing that has rows
 * is truncated, nor a table of an extension: it may be another's, have triggers, or be referenced by a foreign key.
 */
async function emptied(session: Session, table: string): Promise<boolean> {
  if (!(await session.row(z.object({ ordinary: z.boolean() }), ORDINARY, [table])).ordinary) return false;
  await session.run(`lock table only ${table} in access exclusive mode`);
  const { empty } = await session.row(
    z.object({ empty: z.boolean() }),
    `select not exists (select from only ${table}) as empty`,
  );
  if (empty) await session.run(`truncate only ${table}`);
  return empty;
}
