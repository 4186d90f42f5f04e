// What lies beside a file that is archived: the histories of timelines, which a server keeps in the folder of its log.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, systemCode } from '../../../core/errors.ts';
import { historyName, logFileNamed } from './files.ts';
import { endsIn } from './history.ts';
import { placeOf } from './positions.ts';
import type { Segment } from './segments.ts';

/** Null of the first timeline, and where it does not lie there. */
export async function historyBeside(dir: string, timeline: number): Promise<string | null> {
  if (timeline === 1) return null;
  try {
    return await readFile(join(dir, historyName(timeline)), 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Where the log of a timeline ends in its last segment: what lies behind that was never written. */
export async function partialEnd(dir: string, segment: Segment): Promise<number> {
  for (const name of (await readdir(dir)).sort()) {
    const file = logFileNamed(name);
    if (file?.kind !== 'history') continue;
    const ends = endsIn(await historyBeside(dir, file.timeline), file.timeline, join(dir, name));
    const own = ends.find(({ timeline }) => timeline === segment.timeline);
    const end = own ? placeOf(own.end) : 0;
    if (end > segment.from && end <= segment.to) return end;
  }
  throw new Failure('missing', `${segment.path}: no history beside it says where timeline ${segment.timeline} ends`);
}
