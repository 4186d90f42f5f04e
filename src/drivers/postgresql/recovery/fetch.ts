// Gives a server that recovers one file of its log, straight from the journal. That there is none ends the log for the
// server, so it is said only of what lies behind everything that was stored.

import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { LogRequest } from '../../../core/driver.ts';
import { Failure } from '../../../core/errors.ts';
import type { Journal } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { close, openRoot } from '../../beneath.ts';
import { attempt } from '../../failures.ts';
import { type LogFile, logFileIn, logFileNamed } from '../wal/files.ts';
import { announce } from './ahead.ts';
import { historiesOf } from './histories.ts';
import { piecesOf } from './pieces.ts';
import { joined } from './segments.ts';
import {
  HINT,
  type Leg,
  legsUpTo,
  type OwnLineages,
  ownLineages,
  replayOfLegs,
  type StoredLog,
  storedLog,
  wayTo,
  wholeUpTo,
} from './stored-log.ts';

export async function fetchLogFile(ctx: Context, journal: Journal, request: LogRequest): Promise<boolean> {
  const own = request.within ?? dirname(request.path);
  const ours = await ownLineages(ctx, journal, own);
  if (logFileNamed(request.file)?.kind === 'history') return giveHistory(ours, own, request);
  const log = await storedLog(ctx, journal, own, ours);
  const wanted = logFileIn(request.file, log.segmentBytes);
  if (!wanted) return false;
  const legs = wayTo(log, wanted, { name: request.file, hasOwn: existsSync(join(own, request.file)) });
  if (!legs) return false;
  await giveSegment(ctx, log, legs, wanted, { ...request, within: own });
  if (request.spool !== undefined) announce(ctx, request.spool, wanted, wholeUpTo(legs, log.segmentBytes), log);
  return true;
}

function giveHistory({ lineages, system }: OwnLineages, own: string, { file, path }: LogRequest): boolean {
  const ownOf = (name: string): string => (existsSync(join(own, name)) ? readFileSync(join(own, name), 'utf8') : '');
  const text = historiesOf(lineages, system, ownOf).get(file) ?? '';
  if (text !== '') attempt(path, () => writeFileSync(path, text, { mode: 0o600 }));
  return text !== '';
}

/** The last one may be a part of its segment. */
async function giveSegment(
  ctx: Context,
  log: StoredLog,
  legs: readonly Leg[],
  { number }: LogFile,
  { file, path, spool, within = '' }: LogRequest,
): Promise<void> {
  const { segmentBytes } = log;
  const work = mkdtempSync(join(spool ?? dirname(path), 'lifeboat-'));
  const [dir, own] = [openRoot(work), openRoot(within)];
  let isGiven = false;
  try {
    const replay = replayOfLegs(log, legsUpTo(legs, (number + 1) * segmentBytes));
    const pieces = piecesOf(ctx, replay, number * segmentBytes);
    for await (const name of joined(pieces, { dir, own, owner: null, segmentBytes })) {
      if (name !== file) continue;
      attempt(path, () => renameSync(join(work, name), path));
      isGiven = true;
      break;
    }
  } finally {
    [dir, own].forEach(close);
    rmSync(work, { recursive: true, force: true });
  }
  if (isGiven) return;
  throw new Failure('missing', `the journal begins within ${file}, and the server has not got that either`, {
    hint: HINT,
  });
}
