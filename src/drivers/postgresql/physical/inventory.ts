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

/** A file as it came, or as the manifest lists it. */
interface Seen {
  readonly path: string;
  /** Of what came. */
  readonly bytes: number;
  readonly sha256: string;
  readonly listed: boolean;
  /** The name of what came, where that is not the file itself: its pages that changed, a label. */
  readonly as?: string;
  /** What was stored in place of that; without a digest it is the file of the earlier backup. */
  readonly stored?: { readonly bytes: number; readonly sha256: string | null };
  /** In the words of the manifest. */
  readonly modified?: string;
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
  /** A slot of a server that has lived through it. */
  readonly witness: string | null;
  /** That of the point before it. */
  readonly replaced: string | null;
}

/** A file as it is in the point. */
export interface CapturedFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** As the manifest says it; null for what is in none: the log, and the manifest itself. */
  readonly modified: string | null;
}

/**
 * Every file, in order. What the backup sent must be what its manifest lists; the log and the manifest itself are in
 * none. `earlier` tells of files that were kept.
 */
export async function* capturedFiles(
  files: SeenFiles,
  what: string,
  earlier?: AsyncIterable<Iterable<InventoryLine>>,
): AsyncIterable<readonly CapturedFile[]> {
  const differs = (path: string, why: string): Failure => new Failure('malformed', `${what}: ${path} ${why}`);
  const kept = earlier ? keptFiles(earlier) : null;
  const captured = async ({ path, bytes, sha256, stored }: Seen, modified: string | null): Promise<CapturedFile> => {
    if (!stored) return { path, bytes, sha256, modified };
    const digest = stored.sha256 ?? (await kept?.sha256Of(path, stored.bytes));
    if (digest) return { path, bytes: stored.bytes, sha256: digest, modified };
    throw differs(path, 'did not change, and the earlier point does not tell its digest');
  };
  const unlisted = async (file: Seen): Promise<CapturedFile> => {
    if (file.path === MANIFEST_FILE || file.path.startsWith('pg_wal/')) return await captured(file, null);
    throw differs(file.path, 'is in the backup, and its manifest does not know it');
  };
  try {
    let came: Seen | undefined;
    for await (const batch of files.sorted()) {
      const all: CapturedFile[] = [];
      for (const file of batch) {
        if (!file.listed) {
          if (came?.path === file.path) throw differs(file.path, 'came twice');
          if (came) all.push(await unlisted(came));
          came = file;
          continue;
        }
        if (came && came.path !== file.path) all.push(await unlisted(came));
        if (came?.path !== file.path) throw differs(file.path, 'is in the manifest of the backup and did not come');
        if (came.bytes !== file.bytes || came.sha256 !== file.sha256 || came.as !== file.as) {
          throw differs(file.path, 'came with other bytes than the manifest of the backup says');
        }
        all.push(await captured(came, file.modified ?? ''));
        came = undefined;
      }
      yield all;
    }
    if (came) yield [await unlisted(came)];
  } finally {
    await kept?.end();
  }
}

/** The files of an earlier point, asked for in their order. */
function keptFiles(batches: AsyncIterable<Iterable<InventoryLine>>): {
  /** In hex; null where it does not tell, or the file has another size. */
  sha256Of(path: string, bytes: number): Promise<string | null>;
  end(): Promise<void>;
} {
  const lines = linesIn(batches);
  let line: InventoryLine | undefined;
  let ended = false;
  return {
    async sha256Of(path, bytes) {
      while (!ended && (line === undefined || line.name < path)) {
        const next = await lines.next();
        ended = next.done === true;
        line = next.done ? undefined : next.value;
      }
      if (line?.name !== path || line.count !== bytes) return null;
      return /^sha256:([0-9a-f]{64})$/.exec(line.digest ?? '')?.[1] ?? null;
    },
    async end() {
      await lines.return(undefined);
    },
  };
}
async function* linesIn(batches: AsyncIterable<Iterable<InventoryLine>>): AsyncGenerator<InventoryLine, undefined> {
  for await (const batch of batches) for (const line of batch) if (line.kind === FILE) yield line;
}

/** Of all of the backup: what it is, and every file. */
export async function* backupLines(
  facts: BackupFacts,
  files: AsyncIterable<readonly CapturedFile[]>,
): AsyncIterable<readonly InventoryLine[]> {
  yield [{ kind: BACKUP, name: 'base', count: null, digest: null, detail: factsJson(facts) }];
  for await (const batch of files) {
    yield batch.map(({ path, bytes, sha256, modified }) => {
      const detail = {
        ...(modified === null ? { in_manifest: false } : {}),
        ...(path === MAP_FILE ? { tablespaces: facts.tablespaces.map(({ oid }) => oid) } : {}),
      };
      const line = fileLine(path, bytes, sha256);
      return Object.keys(detail).length === 0 ? line : { ...line, detail };
    });
  }
}

export function fileLine(path: string, bytes: number, sha256: string): InventoryLine {
  return { kind: FILE, name: path, count: bytes, digest: `sha256:${sha256}` };
}

const positionSchema = z.object({ lsn: z.string(), timeline: z.number() });
const factsSchema = z.object({
  start: positionSchema,
  end: positionSchema,
  tablespaces: z.array(z.object({ oid: z.string().regex(/^\d+$/), location: z.string() })),
  witness: z.string().nullable().default(null),
  replaced: z.string().nullable().default(null),
});

function factsJson({ start, end, tablespaces, witness, replaced }: BackupFacts): Json {
  const plain = ({ lsn, timeline }: LogPosition): Json => ({ lsn, timeline });
  return {
    start: plain(start),
    end: plain(end),
    tablespaces: tablespaces.map(({ oid, location }) => ({ oid, location })),
    ...(witness === null ? {} : { witness }),
    ...(replaced === null ? {} : { replaced }),
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
