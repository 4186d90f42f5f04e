// Files of a base backup on their way into a store, one after the other, as they come; small ones wait in memory that
// is used again. Of an incremental one, each becomes whole on the way, or is kept from the earlier point.

import { hash } from 'node:crypto';
import { bytesOf, measured, readAll } from '../../../core/bytes.ts';
import { interruption } from '../../../core/context.ts';
import { keepAll, putAll } from '../../../core/many-parts.ts';
import type { Bytes, Context, KeptPart, PartMeta, Sink, WholePart } from '../../../core/model.ts';
import type { EarlierBackup } from './earlier-backup.ts';
import { fullLabel, INCREMENTAL, incrementalFile } from './incremental-file.ts';
import type { SeenFiles } from './inventory.ts';
import {
  DATA_TREE,
  DIRECTORIES_PART,
  LABEL_FILE,
  MANIFEST_FILE,
  PHYSICAL_PREFIX,
  SIGNAL_FILES,
  type Tree,
} from './names.ts';
import type { TarEntry } from './tar.ts';

/** Files up to this size wait for others, to be put together. */
const WHOLE_BYTES_MAX = 1024 * 1024;
/** Of those together; there is always room for one more. */
const GROUP_BYTES = 1024 * 1024;
const GROUP_PARTS = 500;
const LABEL_BYTES_MAX = 64 * 1024;

export interface Intake {
  directory(tree: Tree, name: string): void;
  file(tree: Tree, entry: TarEntry): Promise<void>;
  /** Of which no file is a file of the data directory. */
  manifest(body: Bytes): Promise<{ readonly bytes: number; readonly sha256: string }>;
  end(): Promise<void>;
  totals(): Totals;
  warnings(): readonly string[];
}
export interface Totals extends Readonly<Record<string, number>> {
  readonly files: number;
  readonly file_bytes: number;
}

export interface IntakeOptions {
  readonly sink: Sink;
  readonly files: SeenFiles;
  /** Null where every file comes whole. */
  readonly earlier: EarlierBackup | null;
  /** Who sends them. */
  readonly where: string;
}

interface Stored {
  readonly bytes: number;
  readonly sha256: string;
}

export function intakeOf(ctx: Context, { sink, files, earlier, where }: IntakeOptions): Intake {
  const { put, keep, flush } = shelfOf(ctx, sink);
  const totals = { files: 0, file_bytes: 0 };
  let sent = 0;
  const directories: string[] = [];
  const signals: string[] = [];
  let last: PartMeta = {}; // of the data directory: its manifest is no file there

  function count(path: string, bytes: number): void {
    totals.files += 1;
    totals.file_bytes += bytes;
    if (SIGNAL_FILES.has(path)) signals.push(path);
  }
  async function changed(tree: Tree, entry: TarEntry, { source, pageBytes }: EarlierBackup): Promise<void> {
    const file = entry.name.replace(INCREMENTAL, '');
    const [name, path] = [tree.parts + file, tree.files + file];
    const came = measured(entry.body);
    const what = `${where}: ${path}`;
    const told = await incrementalFile(came.body, { bytes: entry.bytes, pageBytes, what });
    const old = await source.part(ctx, name);
    let stored: { readonly bytes: number; readonly sha256: string | null };
    if (told.isEmpty && told.bytes === old.bytes) {
      await keep({ name, from: old, meta: { ...metaOf(entry), inPlace: true } });
      stored = { bytes: old.bytes, sha256: null };
    } else {
      const get = (range: { offset: number; length: number }): Bytes => source.get(ctx, name, range);
      stored = await put(name, told.bytes, told.whole({ bytes: old.bytes, get }), metaOf(entry));
    }
    count(path, stored.bytes);
    await files.add([{ path, ...came.sum(), listed: false, as: tree.files + entry.name, stored }]);
  }
  async function label(tree: Tree, entry: TarEntry): Promise<void> {
    const came = measured(entry.body);
    const full = Buffer.from(fullLabel((await readAll(came.body, LABEL_BYTES_MAX)).toString('utf8')));
    const stored = await put(tree.parts + entry.name, full.length, bytesOf(full), metaOf(entry));
    count(entry.name, full.length);
    await files.add([{ path: entry.name, ...came.sum(), listed: false, stored }]);
  }
  return {
    directory(tree, name) {
      directories.push(`${tree.parts.slice(PHYSICAL_PREFIX.length)}${name}`.replace(/\/$/, ''));
    },
    async file(tree, entry) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      last = metaOf(entry);
      sent += entry.bytes;
      if (earlier && isIncremental(tree.files + entry.name)) return await changed(tree, entry, earlier);
      if (earlier && tree === DATA_TREE && entry.name === LABEL_FILE) return await label(tree, entry);
      const path = tree.files + entry.name;
      const stored = await put(tree.parts + entry.name, entry.bytes, entry.body, metaOf(entry));
      count(path, stored.bytes);
      await files.add([{ path, ...stored, listed: false }]);
    },
    async manifest(given) {
      const { body, sum } = measured(given);
      await sink.put(ctx, DATA_TREE.parts + MANIFEST_FILE, body, last);
      const stored = sum();
      count(MANIFEST_FILE, stored.bytes);
      return stored;
    },
    async end() {
      await flush();
      await sink.put(ctx, DIRECTORIES_PART, bytesOf(directories.map((name) => `${name}\n`).join('')));
    },
    totals: () => (earlier ? { ...totals, sent_bytes: sent } : totals),
    warnings: () => signals.map((name) => `it is a standby's: ${name} is in it, and no restore brings that`),
  };
}

interface Shelf {
  put(name: string, bytes: number, body: Bytes, meta: PartMeta): Promise<Stored>;
  keep(part: KeptPart): Promise<void>;
  flush(): Promise<void>;
}

function shelfOf(ctx: Context, sink: Sink): Shelf {
  const memory = Buffer.allocUnsafeSlow(GROUP_BYTES + WHOLE_BYTES_MAX);
  let group: WholePart[] = [];
  let kept: KeptPart[] = [];
  let used = 0;

  async function flush(): Promise<void> {
    if (group.length > 0) await putAll(ctx, sink, group);
    if (kept.length > 0) await keepAll(ctx, sink, kept);
    group = [];
    kept = [];
    used = 0;
  }
  return {
    async put(name, bytes, body, meta) {
      if (bytes > WHOLE_BYTES_MAX) {
        const passing = measured(body);
        await sink.put(ctx, name, passing.body, { ...meta, inPlace: true, sum: passing.sum });
        return passing.sum();
      }
      const whole = memory.subarray(used, used + bytes);
      for await (const piece of body) {
        memory.set(piece, used);
        used += piece.length;
      }
      const sha256 = hash('sha256', whole);
      group.push({ name, whole, sha256, meta });
      if (used >= GROUP_BYTES || group.length >= GROUP_PARTS) await flush();
      return { bytes, sha256 };
    },
    async keep(part) {
      kept.push(part);
      if (kept.length >= GROUP_PARTS) await flush();
    },
    flush,
  };
}

/** As a server names them, and only where its relations lie. */
export function isIncremental(path: string): boolean {
  return /^(?:base|global|pg_tblspc)\/(?:.*\/)?INCREMENTAL\.[^/]+$/.test(path);
}

function metaOf({ mode, uid, gid, mtime }: TarEntry): PartMeta {
  return { attributes: { mode, uid, gid, mtime: mtime.toISOString() } };
}
