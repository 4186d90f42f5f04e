// Groups of objects on their way from the store into buckets: small ones are read from the store together.

import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import { getAll, WHOLE_BYTES_MAX } from '../../core/many-parts.ts';
import type { Context, Source } from '../../core/model.ts';
import type { Gate } from '../../core/parallel.ts';
import type { Client } from './client.ts';
import { isSame } from './delta.ts';
import { type Entry, partOf } from './entries.ts';
import { statusOf, wordOf } from './failures.ts';
import type { Missing } from './missing.ts';
import { sha256Of } from './objects.ts';
import type { Listed } from './pages.ts';
import { isAnother, isPathLike } from './path-like.ts';
import { damaged, type Place, PUT_BYTES_MAX, putAcl, putMarker, putParts, putWhole, retentionLeft } from './writing.ts';
import type { Receipt, Written } from './written.ts';

export interface Job {
  readonly client: Client;
  readonly source: Source;
  readonly missing: Missing;
  /** Objects at a time, whatever the groups. */
  readonly writes: Gate;
  readonly large: Gate;
  readonly done: (bytes: number) => void;
  /** Null when all of it is to be read again. */
  readonly written: Written | null;
}
/** What is to be written of one key, in order. */
export interface Run {
  readonly place: Place;
  readonly entries: readonly Entry[];
  /** The same, perhaps, so that it need not be written. */
  readonly there: Listed | undefined;
  /** The target lists something under the key. */
  readonly isThere: boolean;
}
interface Step {
  readonly run: Run;
  readonly entry: Entry;
}

/** Resolves when all of them are written. The n-th versions of all keys come before the next ones. */
export async function writeRuns(ctx: Context, job: Job, runs: readonly Run[]): Promise<void> {
  const left = await changedRuns(ctx, job, runs);
  const versions = new Map<Run, string>();
  const rounds = Math.max(0, ...left.map(({ entries }) => entries.length));
  for (let round = 0; round < rounds; round++) {
    const steps = left.flatMap((run): Step[] => {
      const entry = run.entries[round];
      return entry ? [{ run, entry }] : [];
    });
    await writeRound(ctx, job, steps, versions);
  }
}

/** Of objects that may be there already it is asked whether they are. */
async function changedRuns(ctx: Context, { client, writes }: Job, runs: readonly Run[]): Promise<Run[]> {
  const same = await Promise.all(
    runs.map(async ({ place, entries: [entry], there }) => {
      if (!there || !entry) return false;
      return await writes.run(() => isSame(ctx, client, place, entry, there));
    }),
  );
  return runs.filter((_, i) => !same[i]);
}

async function writeRound(ctx: Context, job: Job, steps: readonly Step[], versions: Map<Run, string>): Promise<void> {
  const { source, writes, large } = job;
  const write = (step: Step, work: () => Promise<Receipt>): Promise<void> => oneObject(ctx, job, step, versions, work);
  const others: Promise<void>[] = [];
  const small: Step[] = [];
  for (const step of steps) {
    const { entry, run } = step;
    const { bytes = 0 } = entry;
    if (!entry.marker && bytes <= WHOLE_BYTES_MAX) small.push(step);
    else if (entry.marker) {
      const work = async () => await putMarker(ctx, job.client, run.place, entry);
      others.push(writes.run(() => write(step, work)));
    } else {
      const work = async () => await putLarge(ctx, job, step, versions.get(run) ?? '');
      others.push(large.run(() => write(step, work)));
    }
  }
  for (const other of others) other.catch(() => undefined); // thrown below
  try {
    let at = 0;
    const names = small.map(({ entry }) => partOf(entry));
    for await (const bodies of getAll(ctx, source, names)) {
      const writing = bodies.map((body) => {
        const step = small[at++];
        if (!step) throw new Failure('malformed', `${source.point} gives more parts than it was asked for`);
        return writes.run(() => write(step, () => putSmall(ctx, job, step, body, versions.get(step.run) ?? '')));
      });
      await allOf(writing); // the bodies are borrowed until then
    }
    if (at < small.length) throw new Failure('malformed', `${source.point} gives fewer parts than it was asked for`);
  } finally {
    await Promise.allSettled(others);
  }
  await Promise.all(others);
}

async function putSmall(
  ctx: Context,
  { client, missing }: Job,
  { entry, run: { place } }: Step,
  body: Uint8Array,
  before: string,
): Promise<Receipt> {
  if (sha256Of(body) !== entry.sha256) throw damaged(entry, body.length);
  const receipt = await putWhole(ctx, client, place, entry, body, before);
  await putRest(ctx, client, place, entry, missing);
  return receipt;
}

async function putLarge(
  ctx: Context,
  { client, source, missing }: Job,
  { entry, run: { place } }: Step,
  before: string,
): Promise<Receipt> {
  const body = source.get(ctx, partOf(entry));
  const { bytes = 0 } = entry;
  let receipt: Receipt;
  if (bytes <= PUT_BYTES_MAX) {
    const whole = await readAll(body, bytes).catch((error: unknown) => {
      throw error instanceof RangeError ? damaged(entry, bytes + 1) : error;
    });
    if (sha256Of(whole) !== entry.sha256) throw damaged(entry, whole.length);
    receipt = await putWhole(ctx, client, place, entry, whole, before);
  } else receipt = await putParts(ctx, client, place, entry, body);
  await putRest(ctx, client, place, entry, missing);
  return receipt;
}

async function putRest(ctx: Context, client: Client, place: Place, entry: Entry, missing: Missing): Promise<void> {
  await putAcl(ctx, client, place, entry);
  if (place.lockable || (!entry.hold && !retentionLeft(ctx, entry))) return;
  missing.add([`the lock of ${place.bucket}/${entry.key}: the bucket there was made without object lock`]);
}

/** What the server refuses of one object is named; what is wrong with all of them is thrown. */
async function oneObject(
  ctx: Context,
  { client, missing, done, written }: Job,
  { entry, run }: Step,
  versions: Map<Run, string>,
  work: () => Promise<Receipt>,
): Promise<void> {
  const name = `${run.place.bucket}/${entry.key}`;
  try {
    const isFirst = !run.isThere && !versions.has(run);
    if (isFirst && isPathLike(entry.key) && (await isAnother(ctx, client, run.place.bucket, entry.key))) {
      missing.add([`${name}: the server takes it for another object, which is left as it is`]);
      return;
    }
    const receipt = await work();
    const { bucket, versioned } = run.place;
    versions.set(run, receipt.version);
    if (!entry.marker) written?.note(bucket, entry, versioned ? receipt.version || 'null' : null, receipt);
    done(entry.bytes ?? 0);
  } catch (error) {
    if (!isFailure(error) || !isOfThisObject(error, entry)) throw error;
    missing.refused(name, error);
  }
}

function isOfThisObject(error: Failure, { key }: Entry): boolean {
  const word = wordOf(error);
  if (word === 'NoSuchBucket') return false;
  if (error.code === 'query-failed') return true;
  if (statusOf(error) === 0) return false;
  // Some servers can't sign a key that is no text.
  if (/^(SignatureDoesNotMatch|InvalidAccessKeyId|ExpiredToken)$/.test(word)) return !key.isWellFormed();
  const ofOne = ['value-too-large', 'denied', 'exists', 'settings-invalid'];
  return ofOne.includes(error.code) || statusOf(error) === 500;
}

/** Waits for all of them before it throws: nothing runs on behind the caller's back. */
async function allOf(work: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}
