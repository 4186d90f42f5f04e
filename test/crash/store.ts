// The store of a crash test: a real S3 that is killed and cut, is away, refuses, and does what it is asked without a
// word. What lies in it is looked at past all that.

import { retryingBucket } from '../../src/buckets/retrying.ts';
import { s3Bucket } from '../../src/buckets/s3/bucket.ts';
import { type HttpFault, refusal, startFaultProxy } from '../../src/buckets/s3/fault-proxy.ts';
import type { JournalStretch } from '../../src/core/journal.ts';
import type { Json } from '../../src/core/model.ts';
import type { Store } from '../../src/core/storage.ts';
import { liveContext } from '../../src/core/testing.ts';
import { resticFormat } from '../../src/stores/restic/store.ts';
import { startCuttingProxy } from '../servers/cutting-proxy.ts';
import { startS3 } from '../servers/s3.ts';
import { type Acts, type Chance, pause } from './chaos.ts';

const STACK = 'shop';
const PASSWORD = 'sesame';

/** What a service was told to be stored: it may forget that. */
export interface Claim {
  readonly isOf: (source: Json) => boolean;
  readonly position: string;
}

export interface CrashingStore extends AsyncDisposable {
  /** As the configuration says it. */
  readonly yaml: string;
  acts(chance: Chance): Acts;
  /** Unbroken pieces of the log, by lineage. */
  stretches(component: string): Promise<readonly JournalStretch[]>;
  /** Fails when something is not there. */
  assertHolds(component: string, claims: readonly Claim[]): Promise<void>;
}

export async function startCrashingStore(): Promise<CrashingStore> {
  await using started = new AsyncDisposableStack();
  const server = started.use(await startS3('versitygw'));
  let fault: ((line: string) => HttpFault | undefined) | null = null;
  const proxy = started.use(await startFaultProxy(server.endpoint, ({ line }) => fault?.(line)));
  const way = started.use(await startCuttingProxy(Number(new URL(proxy.endpoint).port)));
  const { region, accessKey, secretKey } = server;
  const url = `s3://${server.bucket}/shop`;
  const access = { region, access_key: accessKey, secret_key: secretKey };
  const bucket = retryingBucket(s3Bucket(url, { ...access, endpoint: server.endpoint }));
  started.defer(() => bucket.close());
  const ctx = liveContext();
  let opened: Store | null = null;

  async function faulty(choose: (line: string) => HttpFault | undefined, ms: number): Promise<void> {
    fault = choose;
    await pause(ms);
    fault = null;
  }
  async function stretches(component: string): Promise<readonly JournalStretch[]> {
    opened ??= await resticFormat.open(ctx, bucket, { stack: STACK, password: PASSWORD });
    const all = await Array.fromAsync(opened.journal(component).stretches(ctx));
    return all.filter(({ gap }) => gap === null);
  }
  const kept = started.move();
  return {
    yaml: `{ format: restic, bucket: "${url}", endpoint: "http://127.0.0.1:${way.port}", region: ${region},
    access_key: ${accessKey}, secret_key: ${secretKey}, password: ${PASSWORD} }`,
    acts: (chance) => ({
      'the store killed': async () => {
        await server.kill();
        await pause(chance(1500));
        await server.start();
      },
      "the store's connections cut": async () => way.cut(),
      'the store out of reach': async () => {
        way.away(true);
        await pause(500 + chance(4000));
        way.away(false);
      },
      'the store answers 503': async () =>
        await faulty(() => (chance(3) > 0 ? refusal(503, 'SlowDown') : undefined), 500 + chance(3000)),
      'the store does, and does not answer': async () =>
        await faulty((line) => (line.startsWith('PUT') && chance(2) > 0 ? { replyBytes: 0 } : undefined), 1500),
    }),
    stretches,
    async assertHolds(component, claims) {
      const held = await stretches(component);
      for (const { isOf, position } of claims) {
        const ends = held.filter(({ lineage }) => isOf(lineage.source)).map(({ to }) => to.position);
        if (ends.some((end) => end >= position)) continue;
        throw new Error(`${position} was acknowledged, and the store has that log up to ${ends.at(-1) ?? 'nowhere'}`);
      }
    },
    [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
  };
}
