// A base backup of a point becomes a data directory: every file as the inventory has it, brought to the disk, and then
// looked at by PostgreSQL's own pg_verifybackup. What makes it startable is written last.

import { readAll } from '../../../core/bytes.ts';
import type { Chain } from '../../../core/component.ts';
import { interruption, withDeadline } from '../../../core/context.ts';
import { Failure, isFailure } from '../../../core/errors.ts';
import { inventoryBatches, inventoryOf } from '../../../core/inventory.ts';
import { getAll } from '../../../core/many-parts.ts';
import type { Context, InventoryLine, Restored, RestoreOptions, Source } from '../../../core/model.ts';
import { mapBounded } from '../../../core/parallel.ts';
import { run } from '../../../core/process.ts';
import { refuseForeign } from '../../../core/selection.ts';
import { cleanContext } from '../programs.ts';
import { assertOwnLog } from '../recovery/own-log.ts';
import { beginRecovery, planRecovery, type Recovery } from '../recovery/recovery.ts';
import { setUpRecovery } from '../recovery/setup.ts';
import type { DirectorySettings } from '../settings.ts';
import { bytesIn, clearOthers, filesOf, noOldFiles, type OldFiles, refuseOthers } from './delta.ts';
import { factsIn, isOfFiles } from './inventory.ts';
import { CONTROL_FILE, DIRECTORIES_PART, MAP_FILE, oidIn, SIGNAL_FILES } from './names.ts';
import {
  type ExpectedFile,
  putDirectory,
  putLink,
  putStreamed,
  putWhole,
  removeFile,
  replaceFile,
  type Syncs,
  syncDirectory,
  syncFile,
  syncsBehind,
} from './put-file.ts';
import { isPlainName } from './tar.ts';
import {
  checkSpace,
  heldIn,
  marked,
  type OpenPlace,
  type OpenPlaces,
  openPlaces,
  ownerFor,
  type Place,
  placesOf,
  refuseData,
  unmark,
} from './target.ts';
import { VERIFIER, verifyBackup } from './verify.ts';

/** Files up to this size are fetched whole, many at a time. */
const WHOLE_BYTES_MAX = 1024 * 1024;
const PARALLEL = 4;
const SYNCS_AT_ONCE = 16;
const DIRECTORIES_BYTES_MAX = 64 * 1024 * 1024;
const SEGMENT = /^pg_wal\/[0-9A-F]{24}$/;
/** Unless initdb was told another size. */
const SEGMENT_BYTES = 16 * 1024 * 1024;

export async function restoreDirectory(
  ctx: Context,
  settings: DirectorySettings,
  chain: Chain,
  options: RestoreOptions,
): Promise<Restored> {
  return (await restoredTo(ctx, settings, chain, options)).restored;
}

interface RestoredTo {
  readonly restored: Restored;
  /** What is left to whoever starts a server on it. */
  readonly recovery: Recovery | undefined;
}

export async function restoredTo(
  ctx: Context,
  settings: DirectorySettings,
  { base, replay }: Chain,
  { select, jobs = PARALLEL, delta = false, reread = false }: RestoreOptions,
): Promise<RestoredTo> {
  const hint = 'a data directory comes back whole: choose databases or tables of what a server is restored into';
  refuseForeign('a data directory of postgresql', select ?? {}, [], hint);
  return await withDeadline(ctx, settings.deadlineMs, `restore into ${settings.path}`, async (limited) => {
    const facts = await factsIn(limited, base);
    const places = placesOf(settings, facts.tablespaces);
    const { needs, segmentBytes } = await needsOf(limited, base, places);
    if (delta) await refuseOthers(limited, base, places);
    else refuseData(places);
    checkSpace(delta ? needs.map(({ path, bytes }) => ({ path, bytes: Math.max(0, bytes - bytesIn(path)) })) : needs);
    if (replay) await assertOwnLog(limited, base, replay, facts);
    const recovery = replay && (await planRecovery(limited, replay, facts, segmentBytes));
    using open = openPlaces(places, ...(delta ? [marked] : []));
    await using old = delta ? await clearOld(limited, base, open, jobs) : noOldFiles();
    await using syncs = syncsBehind();
    const job: Job = { source: base, open, jobs, old, syncs };
    await putDirectories(limited, job);
    const skipped = await putFiles(limited, job);
    if (delta) limited.log.info('files that were the same stay', { kept: old.kept });
    for (const place of open.all) {
      if (place.oid !== null) putLink(open.all[0].root, `pg_tblspc/${place.oid}`, place.path, open.owner);
    }
    const verified = await syncedAndVerified(limited, job, () => verifyBackup(limited, settings, open, reread));
    if (facts.tablespaces.length > 0) {
      replaceFile(open.all[0].root, MAP_FILE, mapOf(open.all), open.owner);
      await syncFile(open.all[0].root, MAP_FILE);
    }
    const place = { root: open.all[0].root, owner: open.owner, task: base.component };
    if (recovery) await setUpRecovery(place, recovery);
    unmark(open);
    const begun = recovery && (await beginRecovery(ctx, place, recovery));
    const bytes = needs.reduce((sum, need) => sum + need.bytes, 0);
    const methods = [
      delta ? 'files that differ' : 'files',
      ...(verified === null ? [] : [VERIFIER]),
      ...(begun ? ['recovery'] : []),
    ];
    const warnings = [...warningsOf(open, skipped), ...old.warnings, ...(begun?.notes ?? [])];
    return { restored: { bytes, method: methods.join(', '), warnings, ...begun?.result }, recovery };
  });
}

async function clearOld(ctx: Context, source: Source, open: OpenPlaces, jobs: number): Promise<OldFiles> {
  const directories = await directoriesOf(ctx, source, open.all);
  return await clearOthers(ctx, open, {
    expected: filesOf(inventoryOf(source)),
    directories: new Set(directories.map(({ place, name }) => place.files + name)),
    jobs,
  });
}

/** Where tablespaces go, for the preview. Throws what a restore would throw before anything is touched. */
export async function placesInWords(
  ctx: Context,
  settings: DirectorySettings,
  { base, replay }: Chain,
  { delta = false }: RestoreOptions,
): Promise<readonly string[]> {
  const places = placesOf(settings, (await factsIn(ctx, base)).tablespaces);
  if (delta) await refuseOthers(ctx, base, places);
  else refuseData(places);
  const going = delta && heldIn(settings.path) !== null ? [`what ${settings.path} holds ${GOING}`] : [];
  return [
    ...going,
    ...places.flatMap(({ oid, path }) => (oid === null ? [] : [`tablespace ${oid} goes to ${path}`])),
    ...(replay?.command ? [await readersInWords(ctx, settings.path, replay.command)] : []),
  ];
}
/** It runs `lifeboat wal-fetch` as whom it runs as, and that is seldom whoever restores. */
const READERS =
  'its user must be able to read the configuration, the files that this takes secrets from, and the store';
async function readersInWords(ctx: Context, path: string, command: readonly string[]): Promise<string> {
  const told = `a server that is started on ${path} fetches its log by itself: ${READERS}`;
  const user = ownerFor(path);
  if (!user) return told;
  for (const file of command.filter((word) => word.startsWith('/'))) {
    try {
      await run(cleanContext(ctx), { program: 'test', args: ['-r', file], cwd: '/', user });
    } catch (error) {
      if (!isFailure(error, 'program-failed')) throw error;
      return `${told}; its owner (user ${user.uid}) can't read ${file}: as it is, the server stops while it recovers`;
    }
  }
  return told;
}
/** Of what is written since the point, only its log may tell. */
const GOING =
  'and the point has not is removed, the log in pg_wal too: copy that first if anything in it may be needed';

interface Job {
  readonly source: Source;
  readonly open: OpenPlaces;
  readonly jobs: number;
  readonly old: OldFiles;
  readonly syncs: Syncs;
}

/** Before anything is touched: what goes where, and that each name is one of ours. */
async function needsOf(
  ctx: Context,
  source: Source,
  places: readonly Place[],
): Promise<{ readonly needs: readonly { readonly path: string; bytes: number }[]; readonly segmentBytes: number }> {
  const needs = places.map(({ path }) => ({ path, bytes: 0 }));
  let segmentBytes = SEGMENT_BYTES;
  for await (const line of fileLines(ctx, source)) {
    const { bytes } = expectedOf(line);
    const need = needs[indexOf(places, line.name)];
    if (need) need.bytes += bytes;
    if (SEGMENT.test(line.name)) segmentBytes = bytes;
  }
  return { needs, segmentBytes };
}

async function* fileLines(ctx: Context, source: Source): AsyncIterable<InventoryLine> {
  for await (const batch of inventoryBatches(ctx, source)) {
    for (const line of batch) if (isOfFiles(line) && line.kind === 'file') yield line;
  }
}

function indexOf(places: readonly Place[], name: string): number {
  const oid = oidIn(name);
  const at = places.findIndex((place) => place.oid === oid);
  if (at >= 0 && isPlainName(name)) return at;
  throw new Failure(
    'malformed',
    `the point has a file ${JSON.stringify(name)}, which is in no directory of its backup`,
  );
}

function expectedOf({ name, count, digest }: InventoryLine): ExpectedFile {
  if (count !== null && digest !== null) return { name, bytes: count, digest };
  throw new Failure('malformed', `the point does not tell size and digest of ${JSON.stringify(name)}`);
}

async function putDirectories(ctx: Context, { source, open }: Job): Promise<void> {
  for (const { place, name } of await directoriesOf(ctx, source, open.all)) {
    if (name !== '') putDirectory(place.root, name, open.owner);
  }
}

/** '' is the place itself. */
async function directoriesOf(
  ctx: Context,
  source: Source,
  places: readonly OpenPlace[],
): Promise<readonly { readonly place: OpenPlace; readonly name: string }[]> {
  const text = (await readAll(source.get(ctx, DIRECTORIES_PART), DIRECTORIES_BYTES_MAX)).toString('utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const full = `physical/${line}/`;
      const place = places.find(({ parts }) => full.startsWith(parts));
      const name = full.slice(place?.parts.length, -1);
      if (place && (name === '' || isPlainName(name))) return { place, name };
      throw new Failure('malformed', `the point has a directory ${JSON.stringify(line)}, which is none of its backup`);
    });
}

interface PlannedFile {
  readonly place: OpenPlace;
  readonly part: string;
  readonly file: ExpectedFile;
}

/** Without the file that makes it startable until the others are there. What is left out is named. */
async function putFiles(ctx: Context, job: Job): Promise<readonly string[]> {
  const { source, open, jobs, old } = job;
  const skipped: string[] = [];
  const control: PlannedFile[] = [];
  for await (const batch of inventoryBatches(ctx, source)) {
    const small: PlannedFile[] = [];
    const large: PlannedFile[] = [];
    for (const line of batch) {
      if (line.kind !== 'file') continue;
      const planned = plannedOf(open, line);
      if (SIGNAL_FILES.has(line.name)) skipped.push(line.name);
      else if (line.name === CONTROL_FILE) control.push(planned);
      else (planned.file.bytes > WHOLE_BYTES_MAX ? large : small).push(planned);
    }
    await putSmall(ctx, job, await old.differing(small));
    await mapBounded(await old.differing(large), jobs, (planned) => putLarge(ctx, job, planned));
  }
  if (control.length === 0)
    throw new Failure('malformed', `${source.point}/${source.component} has no ${CONTROL_FILE}`);
  await putSmall(ctx, job, control);
  return skipped;
}

/** What is written is hashed here: only where that differs, it helps that the store hashes what it reads. */
async function putLarge(
  ctx: Context,
  { source, open: { owner }, syncs }: Job,
  { place, part, file }: PlannedFile,
): Promise<void> {
  const { getUnhashed } = source;
  if (getUnhashed) {
    try {
      return await putStreamed(place.root, file, getUnhashed(ctx, part), { owner, syncs });
    } catch (error) {
      if (!isFailure(error, 'checksum')) throw error;
      removeFile(place.root, file.name);
    }
  }
  await putStreamed(place.root, file, source.get(ctx, part), { owner, syncs });
}

function plannedOf({ all }: OpenPlaces, line: InventoryLine): PlannedFile {
  const place = all[indexOf(all, line.name)] ?? all[0];
  const file = { ...expectedOf(line), name: line.name.slice(place.files.length) };
  return { place, part: place.parts + file.name, file };
}

async function putSmall(ctx: Context, { source, open }: Job, files: readonly PlannedFile[]): Promise<void> {
  if (files.length === 0) return;
  let at = 0;
  const parts = files.map(({ part }) => part);
  for await (const bodies of getAll(ctx, source, parts)) {
    for (const body of bodies) {
      const planned = files[at++];
      if (planned) putWhole(planned.place.root, planned.file, body, open.owner);
    }
    if (ctx.signal.aborted) throw interruption(ctx.signal);
  }
}

/** What looks at the files takes a processor, and the disk needs none. */
async function syncedAndVerified<T>(ctx: Context, job: Job, verify: () => Promise<T>): Promise<T> {
  const [verified, synced] = await Promise.allSettled([verify(), syncAll(ctx, job)]);
  if (synced.status === 'rejected') throw synced.reason;
  if (verified.status === 'rejected') throw verified.reason;
  return verified.value;
}

/** One by one at the end: large ones are on the disk by then, and the others go together. */
async function syncAll(ctx: Context, { source, open, syncs }: Job): Promise<void> {
  await syncs.end();
  await mapBounded(fileLines(ctx, source), SYNCS_AT_ONCE, async (line) => {
    if (SIGNAL_FILES.has(line.name)) return;
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    const { place, file } = plannedOf(open, line);
    await syncFile(place.root, file.name);
  });
  for (const { place, name } of await directoriesOf(ctx, source, open.all)) {
    if (name !== '') syncDirectory(place.root, name);
  }
}

/** As the server reads it when it begins to recover: where each tablespace is now. */
function mapOf(places: readonly OpenPlace[]): string {
  const escaped = (path: string): string => path.replace(/[\\\n\r]/g, '\\$&');
  return places.flatMap(({ oid, path }) => (oid === null ? [] : [`${oid} ${escaped(path)}\n`])).join('');
}

function warningsOf({ cleared }: OpenPlaces, skipped: readonly string[]): string[] {
  return [
    ...cleared.map((path) => `what an unfinished restore had left in ${path} was cleared away`),
    ...skipped.map((name) => `${name} was left out: the server comes up as a primary`),
  ];
}
