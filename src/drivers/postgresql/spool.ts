// An archive as a file in scratch space, so that several jobs can restore from it at once.

import { mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import type { Toc, TocEntry } from './archive.ts';

/** Left free for everybody else. */
const SPARE_BYTES = 64 * 1024 * 1024;
const OFFSET_KNOWN = 2;
const PROGRESS_BYTES = 8 * 1024 * 1024;

export interface Spool extends AsyncDisposable {
  readonly path: string;
  readonly bytes: number;
}

/** Whether `bytes` fit; a restore streams otherwise, with one job. */
export async function roomFor(ctx: Context, bytes: number): Promise<boolean> {
  const { bavail, bsize, ffree, files } = await statfs(ctx.scratch);
  return bavail * bsize > bytes + SPARE_BYTES && (files === 0 || ffree > 16);
}

/** The whole archive. Where its table of contents is known, the places of the data are filled in. */
export async function spoolArchive(
  ctx: Context,
  source: Source,
  { part, toc, bytes, task }: { part: string; toc: Toc | null; bytes: number; task: string },
): Promise<Spool> {
  return await spooled(ctx, async (file) => {
    let at = 0;
    let told = 0;
    for await (const chunk of source.get(ctx, part)) {
      await file.write(chunk, 0, chunk.length, at);
      at += chunk.length;
      if (at - told < PROGRESS_BYTES) continue;
      ctx.progress({ task, phase: 'fetch', bytes: at, bytesTotal: bytes });
      told = at;
    }
    if (toc) await file.patch(toc, toc.entries);
    return at;
  });
}

/** The archive with the data of some tables alone; the rest of the file is a hole that takes no space. */
export async function spoolTables(
  ctx: Context,
  source: Source,
  { part, toc, chosen }: { part: string; toc: Toc; chosen: readonly TocEntry[] },
): Promise<Spool> {
  return await spooled(ctx, async (file) => {
    const head = { at: 0, bytes: toc.blocksAt };
    let bytes = 0;
    for (const range of joined([head, ...chosen.flatMap(({ data }) => data ?? [])])) {
      let at = range.at;
      for await (const chunk of source.get(ctx, part, { offset: range.at, length: range.bytes })) {
        await file.write(chunk, 0, chunk.length, at);
        at += chunk.length;
        bytes += chunk.length;
      }
    }
    await file.patch(toc, chosen);
    return bytes;
  });
}

interface Range {
  readonly at: number;
  readonly bytes: number;
}

/** Those that lie one behind another as one: thousands of small tables are read at once. */
function joined(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const { at, bytes } of ranges.toSorted((a, b) => a.at - b.at)) {
    const last = result.at(-1);
    if (last && last.at + last.bytes === at) result[result.length - 1] = { at: last.at, bytes: last.bytes + bytes };
    else result.push({ at, bytes });
  }
  return result;
}

interface ScratchFile {
  write(data: Uint8Array, from: number, length: number, at: number): Promise<void>;
  patch(toc: Toc, entries: readonly TocEntry[]): Promise<void>;
}

async function spooled(ctx: Context, fill: (file: ScratchFile) => Promise<number>): Promise<Spool> {
  const dir = await mkdtemp(join(ctx.scratch, 'postgresql-'));
  const path = join(dir, 'archive');
  try {
    const handle = await open(path, 'wx', 0o600);
    try {
      const file: ScratchFile = {
        async write(data, from, length, at) {
          for (let done = 0; done < length; ) {
            done += (await handle.write(data, from + done, length - done, at + done)).bytesWritten;
          }
        },
        async patch(toc, entries) {
          for (const { field, data } of entries) {
            if (!data) continue;
            // Positions come from the store: one outside of the table of contents would write anywhere.
            if (field + 9 > toc.blocksAt || data.at < toc.blocksAt)
              throw new Failure('malformed', `${path}: bad place`);
            const place = Buffer.alloc(9);
            place[0] = OFFSET_KNOWN;
            place.writeBigUInt64LE(BigInt(data.at), 1);
            await file.write(place, 0, place.length, field);
          }
        },
      };
      const bytes = await fill(file);
      return { path, bytes, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    await rm(dir, { recursive: true, force: true });
    if (systemCode(cause) !== 'ENOSPC') throw cause;
    throw new Failure('no-space', `scratch space ${ctx.scratch} is full`, {
      cause,
      hint: 'name another one with TMPDIR',
    });
  }
}
