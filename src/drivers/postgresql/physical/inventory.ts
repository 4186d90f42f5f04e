// The lines of an inventory that tell of files: those of a base backup, joined with its own manifest, are stored; those
// of a data directory have the same form.

import { z } from 'zod';
import { Failure } from '../../../core/errors.ts';
import { inventoryOf } from '../../../core/inventory.ts';
import type { Context, InventoryLine, Json, Source } from '../../../core/model.ts';
import { type Sorter, sorter } from '../../../core/sorter.ts';
import type { LogPosition, Tablespace } from './base-backup.ts';
import { MANIFEST_FILE, MAP_FILE } from './names.ts';

/** The first line of all, and the only one of its kind. */
const BACKUP = 'base-backup';
const FILE = 'file';
const CHARS_PER_FILE = 120;

/** A file as it was stored, or as the manifest lists it. */
interface Seen {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly listed: boolean;
}
export type SeenFiles = Sorter<Seen>;

/** Put in order outside memory: there may be a million. */
export function seenFiles(ctx: Context): SeenFiles {
  return sorter<Seen>(ctx.scratch, 'the list of files', {
    order: (a, b) => compareText(a.path, b.path) || Number(a.listed) - Number(b.listed),
    lineOf: (file) => JSON.stringify(file),
    itemOf: (line) => JSON.parse(line) as Seen,
    charsOf: ({ path }) => path.length + CHARS_PER_FILE,
  });
}

export function isOfFiles({ kind }: InventoryLine): boolean {
  return kind === FILE || kind === BACKUP;
}

export interface BackupFacts {
  readonly start: LogPosition;
  readonly end: LogPosition;
  readonly tablespaces: readonly Tablespace[];
}

/**
 * Every file, with the digest that the manifest has of it. What the backup sent must be what its manifest lists; the
 * log and the manifest itself are in none, and their lines say so.
 */
export async function* backupLines(
  facts: BackupFacts,
  files: SeenFiles,
  what: string,
): AsyncIterable<readonly InventoryLine[]> {
  yield [{ kind: BACKUP, name: 'base', count: null, digest: null, detail: factsJson(facts) }];
  const differs = (path: string, why: string): Failure => new Failure('malformed', `${what}: ${path} ${why}`);
  let stored: Seen | undefined;
  const lineOf = (file: Seen, listed: boolean): InventoryLine => {
    const detail = {
      ...(listed ? {} : { in_manifest: false }),
      ...(file.path === MAP_FILE ? { tablespaces: facts.tablespaces.map(({ oid }) => oid) } : {}),
    };
    const line = fileLine(file.path, file.bytes, file.sha256);
    return Object.keys(detail).length === 0 ? line : { ...line, detail };
  };
  const unlisted = (file: Seen): InventoryLine => {
    if (file.path === MANIFEST_FILE || file.path.startsWith('pg_wal/')) return lineOf(file, false);
    throw differs(file.path, 'is in the backup, and its manifest does not know it');
  };
  for await (const batch of files.sorted()) {
    const lines: InventoryLine[] = [];
    for (const file of batch) {
      if (!file.listed) {
        if (stored?.path === file.path) throw differs(file.path, 'came twice');
        if (stored) lines.push(unlisted(stored));
        stored = file;
        continue;
      }
      if (stored && stored.path !== file.path) lines.push(unlisted(stored));
      if (stored?.path !== file.path) throw differs(file.path, 'is in the manifest of the backup and did not come');
      if (stored.bytes !== file.bytes || stored.sha256 !== file.sha256) {
        throw differs(file.path, 'came with other bytes than the manifest of the backup says');
      }
      lines.push(lineOf(stored, true));
      stored = undefined;
    }
    yield lines;
  }
  if (stored) yield [unlisted(stored)];
}

export function fileLine(path: string, bytes: number, sha256: string): InventoryLine {
  return { kind: FILE, name: path, count: bytes, digest: `sha256:${sha256}` };
}

const positionSchema = z.object({ lsn: z.string(), timeline: z.number() });
const factsSchema = z.object({
  start: positionSchema,
  end: positionSchema,
  tablespaces: z.array(z.object({ oid: z.string().regex(/^\d+$/), location: z.string() })),
});

function factsJson({ start, end, tablespaces }: BackupFacts): Json {
  const plain = ({ lsn, timeline }: LogPosition): Json => ({ lsn, timeline });
  return {
    start: plain(start),
    end: plain(end),
    tablespaces: tablespaces.map(({ oid, location }) => ({ oid, location })),
  };
}

/** Of the base backup that a point holds; 'missing' when it holds none. */
export async function factsIn(ctx: Context, source: Source): Promise<BackupFacts> {
  const where = `${source.point}/${source.component}`;
  for await (const { kind, detail } of inventoryOf(source).lines(ctx)) {
    if (kind !== BACKUP) break;
    const facts = factsSchema.safeParse(detail);
    if (facts.success) return facts.data;
    throw new Failure('malformed', `the inventory of ${where} does not tell of its backup`, { cause: facts.error });
  }
  throw new Failure('missing', `${where} holds no data directory: it was captured by pg_dump`, {
    hint: 'restore it into a server, or capture with capture: [physical]',
  });
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
