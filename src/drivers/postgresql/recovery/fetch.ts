// Gives a server that recovers one file of its log, straight from the journal. That there is none ends the log for the
// server, so it is said only of what lies behind everything that was stored.

import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Replay } from '../../../core/component.ts';
import type { LogRequest } from '../../../core/driver.ts';
import { Failure } from '../../../core/errors.ts';
import type { Journal, JournalStretch, Lineage } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { close, openRoot } from '../../beneath.ts';
import { attempt } from '../../failures.ts';
import { CONTROL_FILE } from '../physical/names.ts';
import { type LogFile, logFileIn, logFileNamed } from '../wal/files.ts';
import { placeOf, positionAt, sourceIn } from '../wal/positions.ts';
import { historiesOf } from './histories.ts';
import { piecesOf } from './pieces.ts';
import { joined } from './segments.ts';

const SEGMENT_BYTES = 16 * 1024 * 1024;
/** Put into the spool by one call, so that the server need not ask for each. */
const AHEAD_MAX = 16;
const SYSTEM_BYTES = 8;
const HINT = 'restore from a point that was taken later, or to a moment before';

export async function fetchLogFile(ctx: Context, journal: Journal, request: LogRequest): Promise<boolean> {
  const own = dirname(request.path);
  const lineages = await Array.fromAsync(journal.lineages(ctx));
  const system = systemOf(own, lineages);
  const ours = lineages.filter(({ source }) => sourceIn(source)?.system === system);
  if (ours.length === 0) {
    const why = `the journal has no log of system ${system}`;
    throw new Failure('missing', why, { hint: 'name the component and the store that the server was followed to' });
  }
  if (logFileNamed(request.file)?.kind === 'history') return giveHistory(ours, system, own, request);
  const segmentBytes = segmentBytesIn(own);
  const wanted = logFileIn(request.file, segmentBytes);
  if (!wanted) return false;
  const log = { journal, lineages: ours, stretches: await Array.fromAsync(journal.stretches(ctx)), segmentBytes };
  const legs = wayTo(log, wanted, { name: request.file, hasOwn: existsSync(join(own, request.file)) });
  if (!legs) return false;
  await giveSegment(ctx, log, legs, wanted, request);
  return true;
}

function giveHistory(lineages: readonly Lineage[], system: string, own: string, { file, path }: LogRequest): boolean {
  const ownOf = (name: string): string => (existsSync(join(own, name)) ? readFileSync(join(own, name), 'utf8') : '');
  const text = historiesOf(lineages, system, ownOf).get(file) ?? '';
  if (text !== '') attempt(path, () => writeFileSync(path, text, { mode: 0o600 }));
  return text !== '';
}

interface Log {
  readonly journal: Journal;
  /** Of the server's system. */
  readonly lineages: readonly Lineage[];
  readonly stretches: readonly JournalStretch[];
  readonly segmentBytes: number;
}
/** A lineage, and what is read of it. */
interface Leg {
  readonly lineage: Lineage;
  readonly from: number;
  readonly to: number;
}
interface Asked {
  readonly name: string;
  /** The server has it from its base backup. */
  readonly hasOwn: boolean;
}

/**
 * What holds the segment, through the lineages that its timeline goes on from where that began within it. Null where
 * the server finds it by itself, or the timeline ends before it.
 */
function wayTo(log: Log, { timeline, number }: LogFile, { name, hasOwn }: Asked): readonly Leg[] | null {
  const [begin, end] = [number * log.segmentBytes, (number + 1) * log.segmentBytes];
  const same = log.lineages.filter(({ source }) => sourceIn(source)?.timeline === timeline);
  let why: string | null = null;
  for (const lineage of same.toReversed()) {
    const from = Math.max(begin, placeOf(lineage.from.position));
    const at = from < end ? stretchAt(log, lineage, from) : null;
    if (!at) continue;
    const to = placeOf(at.to.position);
    const broken = at.gap ?? (to < end ? stretchAt(log, lineage, to)?.gap : null) ?? null;
    if (broken === null) return [...legsBefore(log, lineage, begin, from), { lineage, from, to }];
    why ??= broken;
  }
  if (hasOwn) return null;
  if (why !== null) throw new Failure('missing', `the journal has a gap in ${name}: ${why}`, { hint: HINT });
  const known = same.length > 0 ? same : log.lineages;
  if (known.every((lineage) => endOf(log, lineage) <= begin)) return null;
  throw new Failure('missing', `the journal has no ${name}, although it has what lies behind it`, { hint: HINT });
}

function stretchAt({ stretches }: Log, { id }: Lineage, place: number): JournalStretch | null {
  const holds = ({ lineage, from, to }: JournalStretch): boolean =>
    lineage.id === id && placeOf(from.position) <= place && place < placeOf(to.position);
  return stretches.find(holds) ?? null;
}

function endOf({ stretches }: Log, { id, from }: Lineage): number {
  const last = stretches.findLast(({ lineage }) => lineage.id === id);
  return placeOf((last?.to ?? from).position);
}

/** Up to where it begins itself, as far as there is anything. */
function legsBefore(log: Log, { parent }: Lineage, begin: number, end: number): readonly Leg[] {
  const lineage = log.lineages.find(({ id }) => id === parent?.lineage);
  if (begin >= end || !lineage) return [];
  const from = Math.max(begin, placeOf(lineage.from.position));
  const stretch = from < end ? stretchAt(log, lineage, from) : null;
  if (!stretch || stretch.gap !== null || placeOf(stretch.to.position) < end) return [];
  return [...legsBefore(log, lineage, begin, from), { lineage, from, to: end }];
}

/** And whole ones that come next on the same timeline. */
async function giveSegment(
  ctx: Context,
  log: Log,
  legs: readonly Leg[],
  wanted: LogFile,
  { file, path, spool: given }: LogRequest,
): Promise<void> {
  const spool = given ?? mkdtempSync(join(dirname(path), 'lifeboat-'));
  const [dir, own] = [openRoot(spool), openRoot(dirname(path))];
  let isGiven = false;
  try {
    const replay = replayOfLegs(log, upToWhole(legs, log.segmentBytes, wanted, given === undefined ? 1 : AHEAD_MAX));
    const pieces = piecesOf(ctx, replay, wanted.number * log.segmentBytes);
    for await (const name of joined(pieces, { dir, own, owner: null, segmentBytes: log.segmentBytes })) {
      if (name !== file) continue;
      attempt(path, () => renameSync(join(spool, name), path));
      isGiven = true;
    }
  } catch (error) {
    // What comes next is asked for by its own name, and told then.
    if (!isGiven) throw error;
  } finally {
    [dir, own].forEach(close);
    if (given === undefined) rmSync(spool, { recursive: true, force: true });
  }
  if (isGiven) return;
  throw new Failure('missing', `the journal begins within ${file}, and the server has not got that either`, {
    hint: HINT,
  });
}

function upToWhole(legs: readonly Leg[], segmentBytes: number, { number }: LogFile, segments: number): readonly Leg[] {
  const [last, ...before] = legs.toReversed();
  if (!last) return [];
  const whole = Math.floor(last.to / segmentBytes);
  const to = whole > number ? Math.min(whole, number + segments) * segmentBytes : last.to;
  return [...before.toReversed(), { ...last, to }];
}

function replayOfLegs({ journal, lineages }: Log, legs: readonly Leg[]): Replay {
  const end = { position: positionAt(legs.at(-1)?.to ?? 0), at: '' };
  async function* ranges(ctx: Context): ReturnType<Replay['ranges']> {
    for (const { lineage, from, to } of legs) {
      const until = positionAt(to);
      for await (const range of journal.read(ctx, { lineage: lineage.id, position: positionAt(from) }, until)) {
        yield { ...range, lineage, until };
      }
    }
  }
  return { target: { kind: 'latest' }, end, lineages, ranges };
}

/** Its own data directory tells, else the journal, where that has one only. */
function systemOf(own: string, lineages: readonly Lineage[]): string {
  const control = join(own, '..', CONTROL_FILE);
  if (existsSync(control)) return String(firstBytes(control, SYSTEM_BYTES).readBigUInt64LE(0));
  const systems = new Set(lineages.flatMap(({ source }) => sourceIn(source)?.system ?? []));
  const [only, ...others] = systems;
  if (only !== undefined && others.length === 0) return only;
  const there = only === undefined ? 'there is none' : `there are ${[...systems].join(', ')}`;
  throw new Failure('ambiguous', `the log of which system is wanted? ${there}`, {
    hint: 'run it as restore_command: it looks into the data directory that it is started in',
  });
}

function firstBytes(path: string, bytes: number): Buffer {
  const head = Buffer.alloc(bytes);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, head, 0, bytes, 0);
  } finally {
    closeSync(fd);
  }
  return head;
}

function segmentBytesIn(own: string): number {
  const names = existsSync(own) ? readdirSync(own) : [];
  const name = names.find((each) => /^[0-9A-F]{24}$/.test(each));
  return name === undefined ? SEGMENT_BYTES : statSync(join(own, name)).size;
}
