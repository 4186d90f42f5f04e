// A base backup as parts: each file is one, so that a stock restic gives a data directory. Nothing waits on a disk but
// the list of files.

import { hash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { bytesOf, measured } from '../../../core/bytes.ts';
import { interruption } from '../../../core/context.ts';
import { Failure, isFailure, messageOf } from '../../../core/errors.ts';
import { putAll } from '../../../core/many-parts.ts';
import type { Bytes, Context, InventoryLine, PartMeta, Sink, WholePart } from '../../../core/model.ts';
import { sqlState } from '../connection.ts';
import type { Server } from '../settings.ts';
import { manifestReader } from './backup-manifest.ts';
import { type BaseBackup, beginBackup, type Content, type LogPosition } from './base-backup.ts';
import { backupLines, type SeenFiles, seenFiles } from './inventory.ts';
import {
  CONTROL_FILE,
  DATA_TREE,
  DIRECTORIES_PART,
  MANIFEST_FILE,
  PHYSICAL_PREFIX,
  SIGNAL_FILES,
  type Tree,
  tablespaceTree,
} from './names.ts';
import { identifySame, openReplication, type Replication } from './replication.ts';
import { type TarEntry, tarEntries } from './tar.ts';

/** Files up to this size wait for others, to be put together. */
const WHOLE_BYTES_MAX = 1024 * 1024;
/** Of those together; there is always room for one more. */
const GROUP_BYTES = 1024 * 1024;
const GROUP_PARTS = 500;
/** Of the server's error codes. */
const DATA_CORRUPTED = 'XX001';

/** Disposed of when its lines are read. */
export interface CapturedBackup extends AsyncDisposable {
  /** From here on the log is needed. */
  readonly start: LogPosition;
  /** Up to here a restored server recovers before anybody is let in. */
  readonly end: LogPosition;
  readonly totals: { readonly files: number; readonly file_bytes: number };
  readonly warnings: readonly string[];
  /** In order, some at a time. */
  readonly lines: AsyncIterable<readonly InventoryLine[]>;
}
export interface CaptureOptions {
  /** Of the server that the other connections lead to. */
  readonly identity: string;
  /** Called when all but the log has come, which is shortly before the backup's end. */
  readonly onLast: () => Promise<void>;
}

export async function captureBackup(
  ctx: Context,
  server: Server,
  sink: Sink,
  { identity, onLast }: CaptureOptions,
): Promise<CapturedBackup> {
  await using connection = await openReplication(ctx, server);
  await using undo = new AsyncDisposableStack();
  const { where } = connection;
  await identifySame(connection, identity);
  const warnings = await holdLog(connection);
  const backup = await beginBackup(connection, { kilobytesPerSecondMax: server.kilobytesPerSecondMax });
  const files = undo.use(seenFiles(ctx));
  const intake = intakeOf(ctx, sink, files);
  const end = await unlessDamaged(backup, where, async () => {
    for await (const content of backup.contents()) await take(content, { where, intake, files, onLast });
    await intake.end();
    return await backup.end();
  });
  undo.move();
  return {
    start: backup.start,
    end,
    totals: intake.totals(),
    warnings: [...warnings, ...backup.notices, ...intake.warnings()],
    lines: linesOf(backup, end, files, where),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

/** The server goes on to the end, warns of each page, and fails then. */
async function unlessDamaged<T>({ notices }: BaseBackup, where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (sqlState(cause) !== DATA_CORRUPTED) throw cause;
    throw new Failure('source-damaged', `${where}: ${notices.join('; ') || messageOf(cause)}`, {
      cause,
      hint: 'look at the disk, and restore what is damaged from the newest point',
    });
  }
}

function linesOf(backup: BaseBackup, end: LogPosition, files: SeenFiles, where: string): CapturedBackup['lines'] {
  const { start, tablespaces } = backup;
  return backupLines({ start, end, tablespaces }, files, where);
}

/**
 * Until the backup has ended, the server must keep the log that is written meanwhile: a slot of this very connection
 * sees to it, and goes with it.
 */
async function holdLog({ rows }: Replication): Promise<readonly string[]> {
  const slot = `lifeboat_${randomBytes(8).toString('hex')}`;
  try {
    await rows(z.unknown(), `CREATE_REPLICATION_SLOT ${slot} TEMPORARY PHYSICAL (RESERVE_WAL true)`);
    return [];
  } catch (error) {
    if (!isFailure(error, 'query-failed')) throw error;
    return [`nothing held the log that was written during the backup: ${error.message}`];
  }
}

interface Taking {
  readonly where: string;
  readonly intake: Intake;
  readonly files: SeenFiles;
  readonly onLast: CaptureOptions['onLast'];
}

async function take({ of, body }: Content, { where, intake, files, onLast }: Taking): Promise<void> {
  if (of === 'manifest') {
    const reader = manifestReader(where);
    const listed = async (chunk: Uint8Array): Promise<void> =>
      await files.add(reader.push(chunk).map((file) => ({ ...file, listed: true })));
    await intake.manifest(watched(body, listed));
    reader.end();
    return;
  }
  const tree = of === 'data' ? DATA_TREE : tablespaceTree(of.oid);
  if (of !== 'data') intake.directory(tree, '');
  for await (const entry of tarEntries(body, where)) {
    if (entry.type === 'directory') intake.directory(tree, entry.name);
    else await intake.file(tree, entry);
    if (of === 'data' && entry.name === CONTROL_FILE) await onLast();
  }
}

async function* watched(body: Bytes, look: (chunk: Uint8Array) => Promise<void>): Bytes {
  for await (const chunk of body) {
    await look(chunk);
    yield chunk;
  }
}

interface Intake {
  directory(tree: Tree, name: string): void;
  file(tree: Tree, entry: TarEntry): Promise<void>;
  manifest(body: Bytes): Promise<void>;
  end(): Promise<void>;
  totals(): CapturedBackup['totals'];
  warnings(): readonly string[];
}

/** One after the other, as they come; small ones wait in memory that is used again. */
function intakeOf(ctx: Context, sink: Sink, files: SeenFiles): Intake {
  const memory = Buffer.allocUnsafeSlow(GROUP_BYTES + WHOLE_BYTES_MAX);
  const totals = { files: 0, file_bytes: 0 };
  const directories: string[] = [];
  const signals: string[] = [];
  let group: WholePart[] = [];
  let used = 0;
  let last: PartMeta = {}; // of the data directory: its manifest is no file there

  async function flush(): Promise<void> {
    if (group.length > 0) await putAll(ctx, sink, group);
    group = [];
    used = 0;
  }
  async function note(path: string, bytes: number, sha256: string): Promise<void> {
    totals.files += 1;
    totals.file_bytes += bytes;
    if (SIGNAL_FILES.has(path)) signals.push(path);
    await files.add([{ path, bytes, sha256, listed: false }]);
  }
  async function small(name: string, path: string, entry: TarEntry): Promise<void> {
    const whole = memory.subarray(used, used + entry.bytes);
    for await (const piece of entry.body) {
      memory.set(piece, used);
      used += piece.length;
    }
    const sha256 = hash('sha256', whole);
    group.push({ name, whole, sha256, meta: metaOf(entry) });
    await note(path, entry.bytes, sha256);
    if (used >= GROUP_BYTES || group.length >= GROUP_PARTS) await flush();
  }
  return {
    directory(tree, name) {
      directories.push(`${tree.parts.slice(PHYSICAL_PREFIX.length)}${name}`.replace(/\/$/, ''));
    },
    async file(tree, entry) {
      const [name, path] = [tree.parts + entry.name, tree.files + entry.name];
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      last = metaOf(entry);
      if (entry.bytes <= WHOLE_BYTES_MAX) return await small(name, path, entry);
      const { body, sum } = measured(entry.body);
      await sink.put(ctx, name, body, metaOf(entry));
      const { bytes, sha256 } = sum();
      await note(path, bytes, sha256);
    },
    async manifest(given) {
      const { body, sum } = measured(given);
      await sink.put(ctx, DATA_TREE.parts + MANIFEST_FILE, body, last);
      const { bytes, sha256 } = sum();
      await note(MANIFEST_FILE, bytes, sha256);
    },
    async end() {
      await flush();
      await sink.put(ctx, DIRECTORIES_PART, bytesOf(directories.map((name) => `${name}\n`).join('')));
    },
    totals: () => totals,
    warnings: () => signals.map((name) => `it is a standby's: ${name} is in it, and no restore brings that`),
  };
}

function metaOf({ mode, uid, gid, mtime }: TarEntry): PartMeta {
  return { attributes: { mode, uid, gid, mtime: mtime.toISOString() } };
}
