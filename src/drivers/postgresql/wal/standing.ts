// Where a server's log is now.

import { z } from 'zod';
import type { Standing } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Clock, Context } from '../../../core/model.ts';
import { serverFacts } from '../capture.ts';
import { measureClock } from '../clock.ts';
import { place, type Session } from '../connection.ts';
import { connectSomewhere } from '../databases.ts';
import { identifySame, openReplication } from '../physical/replication.ts';
import type { Server } from '../settings.ts';
import { positionOf, sourceJson } from './positions.ts';

export async function standingOf(ctx: Context, server: Server): Promise<Standing> {
  await using session = await connectSomewhere(ctx, server);
  const { identity } = await serverFacts(session);
  await using connection = await openReplication(ctx, server);
  const { clock, at } = await measureClock(ctx, session);
  const { timeline, xlogpos } = await identifySame(connection, identity);
  const source = sourceJson({ system: identity, timeline });
  return { source, end: { position: positionOf(xlogpos), at: at.toISOString() }, clock };
}

export interface WalFacts {
  readonly identity: string;
  readonly isStandby: boolean;
  readonly segmentBytes: number;
  /** How long it waits for a word from who follows it; 0: for ever. */
  readonly patienceMs: number;
  readonly clock: Clock;
  /** By its clock. */
  readonly at: Date;
}

/** 'settings-invalid' where it writes no log that can be followed. */
export async function walFacts(ctx: Context, session: Session, server: Server): Promise<WalFacts> {
  const { identity } = await serverFacts(session);
  const { level, standby, bytes, patience } = await session.row(
    z.object({ level: z.string(), standby: z.boolean(), bytes: z.coerce.number(), patience: z.coerce.number() }),
    `select current_setting('wal_level') as level, pg_is_in_recovery() as standby,
      pg_size_bytes(current_setting('wal_segment_size')) as bytes,
      (select setting from pg_settings where name = 'wal_sender_timeout') as patience`,
  );
  if (level === 'minimal') {
    const what = 'wal_level is minimal: such a log can not be replayed on a backup';
    throw new Failure('settings-invalid', `${place(server, session.database)}: ${what}`, {
      hint: 'alter system set wal_level = replica, and restart the server',
    });
  }
  const clock = await measureClock(ctx, session);
  return { identity, isStandby: standby, segmentBytes: bytes, patienceMs: patience, ...clock };
}
