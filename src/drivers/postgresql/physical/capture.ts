// A base backup as parts: each file is one, so that a stock restic gives a data directory. Nothing waits on a disk but
// the list of files.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Failure, isFailure, messageOf } from '../../../core/errors.ts';
import { byKindAndName, inventoryBatches } from '../../../core/inventory.ts';
import { merged } from '../../../core/merged.ts';
import type { Bytes, Context, InventoryLine, Sink } from '../../../core/model.ts';
import { sqlState } from '../connection.ts';
import type { Server } from '../settings.ts';
import { type ManifestReader, manifestReader } from './backup-manifest.ts';
import { type BaseBackup, beginBackup, type Content, type LogPosition } from './base-backup.ts';
import { type Earlier, type EarlierBackup, MANIFEST_PART } from './earlier-backup.ts';
import { INCREMENTAL } from './incremental-file.ts';
import { type Intake, intakeOf, isIncremental, type Totals } from './intake.ts';
import { backupLines, type CapturedFile, capturedFiles, fileLine, type SeenFiles, seenFiles } from './inventory.ts';
import { CONTROL_FILE, DATA_TREE, MANIFEST_FILE, tablespaceTree } from './names.ts';
import { identifySame, openReplication, type Replication } from './replication.ts';
import { tarEntries } from './tar.ts';
import { type WrittenFile, writtenManifest } from './written-manifest.ts';

/** Of the server's error codes. */
const DATA_CORRUPTED = 'XX001';

/** Disposed of when its lines are read. */
export interface CapturedBackup extends AsyncDisposable {
  /** From here on the log is needed. */
  readonly start: LogPosition;
  /** Up to here a restored server recovers before anybody is let in. */
  readonly end: LogPosition;
  readonly totals: Totals;
  readonly warnings: readonly string[];
  /** In order, some at a time. */
  readonly lines: AsyncIterable<readonly InventoryLine[]>;
}
export interface CaptureOptions {
  /** Of the server that the other connections lead to. */
  readonly identity: string;
  readonly earlier: Earlier;
  /** Called when all but the log has come, which is shortly before the backup's end. */
  readonly onLast: () => Promise<void>;
}

export async function captureBackup(
  ctx: Context,
  server: Server,
  sink: Sink,
  options: CaptureOptions,
): Promise<CapturedBackup> {
  await using begun = await beginFrom(ctx, server, options);
  await using undo = new AsyncDisposableStack();
  const { backup, earlier, where } = begun;
  const files = undo.use(seenFiles(ctx));
  const intake = intakeOf(ctx, { sink, files, earlier, where });
  const reader = manifestReader(where);
  const taking: Taking = { where, intake, files, reader, earlier, onLast: options.onLast };
  const end = await unlessDamaged(backup, where, async () => {
    for await (const content of backup.contents()) await take(content, taking);
    await intake.end();
    return await backup.end();
  });
  const { start, tablespaces } = backup;
  const { witness, replaced, ...told } = await options.earlier.witnessed();
  const all = (): AsyncIterable<readonly CapturedFile[]> =>
    capturedFiles(files, where, earlier ? inventoryBatches(ctx, earlier.source) : undefined);
  const lines = [backupLines({ start, end, tablespaces, witness, replaced }, all())];
  if (earlier) {
    const { bytes, sha256 } = await intake.manifest(writtenManifest(reader.frame, listed(all())));
    lines.push(only({ ...fileLine(MANIFEST_FILE, bytes, sha256), detail: { in_manifest: false } }));
  }
  undo.move();
  return {
    start,
    end,
    totals: intake.totals(),
    warnings: [...begun.warnings, ...backup.notices, ...intake.warnings(), ...told.warnings],
    lines: merged(lines, byKindAndName),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

async function* only(line: InventoryLine): AsyncIterable<readonly InventoryLine[]> {
  yield [line];
}

async function* listed(files: AsyncIterable<readonly CapturedFile[]>): AsyncIterable<readonly WrittenFile[]> {
  for await (const batch of files) {
    yield batch.flatMap(({ modified, ...file }) => (modified === null ? [] : [{ ...file, modified }]));
  }
}

interface Begun extends AsyncDisposable {
  readonly where: string;
  readonly backup: BaseBackup;
  readonly earlier: EarlierBackup | null;
  readonly warnings: readonly string[];
}

/** What the server can't tell from the earlier backup is read again, all of it. */
async function beginFrom(ctx: Context, server: Server, { identity, earlier }: CaptureOptions): Promise<Begun> {
  const { warnings } = earlier;
  if (!earlier.backup) return withWarnings(warnings, await begin(ctx, server, identity, null));
  try {
    return await begin(ctx, server, identity, earlier.backup);
  } catch (error) {
    if (!isFailure(error, 'query-failed') || ctx.signal.aborted) throw error;
    const why = `all of it was read, not what changed alone: ${error.message}`;
    return withWarnings([why], await begin(ctx, server, identity, null));
  }
}

function withWarnings(warnings: readonly string[], begun: Begun): Begun {
  return { ...begun, warnings: [...warnings, ...begun.warnings] };
}

async function begin(ctx: Context, server: Server, identity: string, earlier: EarlierBackup | null): Promise<Begun> {
  await using undo = new AsyncDisposableStack();
  const connection = undo.use(await openReplication(ctx, server));
  const { where } = connection;
  await identifySame(connection, identity);
  const warnings = await holdLog(connection);
  if (earlier) await connection.upload('UPLOAD_MANIFEST', earlier.source.get(ctx, MANIFEST_PART));
  const { kilobytesPerSecondMax } = server;
  const backup = await beginBackup(connection, { kilobytesPerSecondMax, incremental: earlier !== null });
  undo.move();
  return { where, backup, earlier, warnings, [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose]() };
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
  readonly reader: ManifestReader;
  readonly earlier: EarlierBackup | null;
  readonly onLast: CaptureOptions['onLast'];
}

async function take({ of, body }: Content, taking: Taking): Promise<void> {
  if (of === 'manifest') return await takeManifest(body, taking);
  const { where, intake, onLast } = taking;
  const tree = of === 'data' ? DATA_TREE : tablespaceTree(of.oid);
  if (of !== 'data') intake.directory(tree, '');
  for await (const entry of tarEntries(body, where)) {
    if (entry.type === 'directory') intake.directory(tree, entry.name);
    else await intake.file(tree, entry);
    if (of === 'data' && entry.name === CONTROL_FILE) await onLast();
  }
}

/** That of an incremental backup is not the one of what is stored. */
async function takeManifest(body: Bytes, { intake, files, reader, earlier }: Taking): Promise<void> {
  const look = async (chunk: Uint8Array): Promise<void> =>
    await files.add(
      reader.push(chunk).map((file) => {
        const whole = earlier && isIncremental(file.path) ? file.path.replace(INCREMENTAL, '') : null;
        return { ...file, listed: true, ...(whole === null ? {} : { path: whole, as: file.path }) };
      }),
    );
  if (earlier) for await (const chunk of body) await look(chunk);
  else {
    const { bytes, sha256 } = await intake.manifest(watched(body, look));
    await files.add([{ path: MANIFEST_FILE, bytes, sha256, listed: false }]);
  }
  reader.end();
}

async function* watched(body: Bytes, look: (chunk: Uint8Array) => Promise<void>): Bytes {
  for await (const chunk of body) {
    await look(chunk);
    yield chunk;
  }
}
