// A store: does it open, have we the rights, what else was decided about its bucket, and does that keep its promises?

import { randomUUID } from 'node:crypto';
import { bucketChecks } from '../../buckets/checks.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context, Finding } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { kitFinding } from '../../engine/kit.ts';
import type { StoreConfig } from '../config/model.ts';
import { openBucket, openStore } from '../stack.ts';
import { bytesText, plural } from '../terminal.ts';
import { pointBytes } from '../views.ts';
import { failed, type Patient } from './patient.ts';
import { rightsFindings } from './rights.ts';
import { spaceFinding } from './space.ts';

export interface StoreQuestion {
  readonly store: StoreConfig;
  readonly stack: string;
  readonly deep: boolean;
  /** What the components hold; asked for only where no point tells what a backup takes. */
  readonly probedBytes: () => Promise<number | null>;
}

export async function examineStore(ctx: Context, question: StoreQuestion): Promise<Patient> {
  const { store, deep } = question;
  const summary = `${store.formatName} at ${store.url}`;
  const { found, error, lastBytes } = await opened(ctx, question);
  const findings = [...found];
  // Where the store is missing or out of reach, nothing is written: it may be the wrong place.
  if (error === null || isFailure(error, 'denied')) {
    findings.push(...(await guarded(ctx, 'it can be used', () => inFolder(ctx, store, rightsFindings))));
    findings.push(...(await guarded(ctx, 'its bucket can be looked at', () => postureOf(ctx, store))));
    if (!store.url.includes('://')) {
      const need = lastBytes ?? (await question.probedBytes());
      const otherwise = 'enough only while most of it is there already';
      findings.push(await spaceFinding('it has room for a backup', store.url, { need, otherwise }));
    }
  }
  if (deep) findings.push(...(await guarded(ctx, 'its bucket opens', () => inFolder(ctx, store, deepFindings(store)))));
  return { kind: 'store', name: store.name, summary, findings };
}

interface Opened {
  readonly found: readonly Finding[];
  readonly error: unknown;
  /** Of the newest point of this stack, as captured. */
  readonly lastBytes: number | null;
}

async function opened(ctx: Context, { store, stack }: StoreQuestion): Promise<Opened> {
  const check = 'it opens and lists its points';
  try {
    await using open = await openStore(ctx, store);
    let [points, lastBytes] = [0, null as number | null];
    for await (const point of open.store.list(ctx)) {
      if (point.stack !== stack) continue;
      points += 1;
      lastBytes = pointBytes(point);
    }
    const detail = `${plural(points, 'point')}, ${bytesText(await open.store.bytes(ctx))}`;
    const kit = await kitFinding(ctx, open.store);
    const found: Finding[] = [{ check, verdict: 'pass', detail }, ...(kit ? [kit] : [])];
    return { found, error: null, lastBytes };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { found: [failed(check, error)], error, lastBytes: null };
  }
}

async function postureOf(ctx: Context, store: StoreConfig): Promise<readonly Finding[]> {
  const { bucket: settings } = await store.settings(ctx);
  return (await store.bucket.posture?.(ctx, store.url, settings)) ?? [];
}

function deepFindings(store: StoreConfig): (ctx: Context, bucket: Bucket) => Promise<readonly Finding[]> {
  return async (ctx, bucket) => {
    const findings: Finding[] = [];
    for (const { title, run } of bucketChecks) {
      ctx.progress({ task: store.name, phase: 'deep', items: findings.length, itemsTotal: bucketChecks.length });
      try {
        await run(ctx, bucket);
        findings.push({ check: title, verdict: 'pass', detail: 'as it should be' });
      } catch (error) {
        if (ctx.signal.aborted) throw error;
        findings.push(failed(title, error));
      }
    }
    return findings;
  };
}

/** Works in a folder of its own, which `work` leaves empty. */
async function inFolder(
  ctx: Context,
  store: StoreConfig,
  work: (ctx: Context, bucket: Bucket) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  const bucket = await openBucket(ctx, store, `/0-lifeboat-check-${randomUUID()}`);
  try {
    return await work(ctx, bucket);
  } finally {
    await bucket.close();
  }
}

/** What one question ends in must not cost the answers to the others: a secret that is not there, a wrong URL. */
async function guarded(
  ctx: Context,
  check: string,
  work: () => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  try {
    return await work();
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return [failed(check, error)];
  }
}
