// S3: Lifeboat beside rclone, with as many requests at a time, on a MinIO of this machine.

import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { mapBounded } from '../src/core/parallel.ts';
import { liveContext } from '../src/core/testing.ts';
import type { Client } from '../src/drivers/s3/client.ts';
import { clientOf, makeBucket, settingsOf } from '../src/drivers/s3/testing.ts';
import { putWhole } from '../src/drivers/s3/writing.ts';
import { type S3Server, startS3 } from '../test/servers/s3.ts';
import { noise } from './data.ts';
import { lifeboatWith, resticStore } from './lifeboat.ts';
import { type Candidate, compared, interleaved, type Limits, measure, type Row, type Stage } from './measure.ts';

export interface S3Sizes {
  /** Of 4 KiB each. */
  readonly objects: number;
  /** Of each of the two large ones. */
  readonly largeBytes: number;
  readonly rounds: number;
}

const SMALL_BYTES = 4096;
const CONNECTIONS = 16;
const LARGE = 2;
const PIECE_BYTES = 4 * 1024 * 1024;
const ctx = liveContext();

interface Work {
  readonly name: string;
  readonly peer: string;
  readonly limits: Limits;
}

/** Both keep what is in `bucket` in folders of their own, and bring it back into buckets of their own. */
interface Peers {
  readonly capture: {
    readonly ours: () => Promise<Figures>;
    readonly theirs: () => Promise<Figures>;
    /** Into a store of plain files, which is what rclone makes. */
    readonly plain?: () => Promise<Figures>;
  };
  readonly again: Peers['capture'];
  readonly restore: Peers['capture'];
  /** Nothing is missing and nothing differs; throws otherwise. */
  check(): void;
}
type Figures = Awaited<ReturnType<typeof measure>>;

export async function compareWithRclone(
  dir: string,
  { objects, largeBytes, rounds }: S3Sizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using server = await startS3('minio');
  await using client = clientOf(ctx, server);
  say(`filling ${objects} small objects and ${LARGE} of ${largeBytes / 2 ** 20} MiB`);
  for (const bucket of ['small', 'large']) await makeBucket(ctx, client, bucket);
  await fillSmall(client, objects, 'first');
  fillLarge(dir, server, largeBytes);
  const works = worksOf(objects, largeBytes);
  const taken = await interleaved(
    rounds,
    async (round): Promise<readonly Stage[]> => {
      const place = join(dir, `round-${round}`);
      const small = await peersOn(join(place, 'small'), server, 'small', round);
      const large = await peersOn(join(place, 'large'), server, 'large', round);
      const changed = Math.ceil(objects / 100);
      return [
        stage(works.capture, small.capture),
        { ...stage(works.again, small.again), before: () => fillSmall(client, changed, `round ${round}`) },
        stage(works.restore, small.restore),
        { ...stage(works.captureLarge, large.capture), before: () => small.check() },
        stage(works.restoreLarge, large.restore),
        {
          candidates: [],
          before() {
            large.check();
            rmSync(place, { recursive: true });
          },
        },
      ];
    },
    say,
  );
  return Object.values(works).flatMap(({ name, peer, limits }) =>
    [name, plainName(name)]
      .filter((ours) => taken.has(ours))
      .map((ours) => compared(taken, ours, { ours, theirs: theirName(name), peer, limits })),
  );
}

function worksOf(objects: number, largeBytes: number) {
  const small = `${objects} × ${SMALL_BYTES / 1024} KiB`;
  const large = `${LARGE} × ${largeBytes / 2 ** 20} MiB`;
  return {
    capture: { name: `S3, first backup, ${small}`, peer: 'rclone copy', limits: { wall: 0.8 } },
    again: { name: `S3, again, 1 % changed, ${small}`, peer: 'rclone sync', limits: { wall: 1 } },
    restore: { name: `S3, restore, ${small}`, peer: 'rclone copy', limits: { wall: 1 } },
    captureLarge: { name: `S3, first backup, ${large}`, peer: 'rclone copy', limits: { wall: 1.2 } },
    restoreLarge: { name: `S3, restore, ${large}`, peer: 'rclone copy', limits: { wall: 1.2 } },
  } satisfies Record<string, Work>;
}

function stage({ name }: Work, { ours, theirs, plain }: Peers['capture']): Stage {
  const candidates: Candidate[] = [
    { name, run: ours },
    { name: theirName(name), run: theirs },
  ];
  if (plain) candidates.push({ name: plainName(name), run: plain });
  return { candidates };
}

function plainName(work: string): string {
  return `${work}, plain store`;
}

function theirName(work: string): string {
  return `rclone: ${work}`;
}

async function peersOn(dir: string, server: S3Server, bucket: string, round: number): Promise<Peers> {
  mkdirSync(dir, { recursive: true });
  const [ours, theirs] = [`ours-${bucket}-${round}`, `theirs-${bucket}-${round}`];
  const component = { kind: 's3', ...settingsOf(server, { buckets: [bucket], connections: CONNECTIONS }) };
  const store = resticStore(join(dir, 'store'));
  const lifeboat = await lifeboatWith(join(dir, 'lifeboat.yaml'), { store, component });
  const files = { format: 'plain', layout: 'dated', bucket: join(dir, 'plain') };
  const plain = await lifeboatWith(join(dir, 'plain.yaml'), { store: files, component });
  const env = rcloneEnv(server);
  const copy = join(dir, 'theirs');
  const options = ['--quiet', '--transfers', `${CONNECTIONS}`, '--checkers', `${CONNECTIONS}`];
  const rclone = (...args: string[]): Promise<Figures> => measure('rclone', [...args, ...options], env);
  const backup = (): Promise<Figures> => lifeboat(['backup']);
  return {
    capture: {
      ours: backup,
      theirs: () => rclone('copy', `there:${bucket}`, copy),
      plain: () => plain(['backup']),
    },
    again: { ours: backup, theirs: () => rclone('sync', `there:${bucket}`, copy) },
    restore: {
      ours: () => lifeboat(['restore', 'latest', '--yes', '--rename', `${bucket}=${ours}`]),
      theirs: () => rclone('copy', copy, `there:${theirs}`),
    },
    check() {
      for (const restored of [ours, theirs]) {
        execFileSync('rclone', ['check', '--quiet', '--download', `there:${bucket}`, `there:${restored}`], { env });
        execFileSync('rclone', ['purge', '--quiet', `there:${restored}`], { env });
      }
    },
  };
}

function rcloneEnv({ endpoint, accessKey, secretKey, region }: S3Server): Readonly<Record<string, string | undefined>> {
  return {
    ...process.env,
    AWS_CA_BUNDLE: undefined, // rclone of Debian can't have one, and speaks no TLS here
    RCLONE_CONFIG: '/dev/null',
    RCLONE_CONFIG_THERE_TYPE: 's3',
    RCLONE_CONFIG_THERE_PROVIDER: 'Minio',
    RCLONE_CONFIG_THERE_ENDPOINT: endpoint,
    RCLONE_CONFIG_THERE_REGION: region,
    RCLONE_CONFIG_THERE_ACCESS_KEY_ID: accessKey,
    RCLONE_CONFIG_THERE_SECRET_ACCESS_KEY: secretKey,
  };
}

/** Objects that nothing compresses, in folders of a thousand. The same text gives the same objects. */
async function fillSmall(client: Client, objects: number, text: string): Promise<void> {
  const place = { bucket: 'small', versioned: false, lockable: false };
  await mapBounded(numbers(objects), CONNECTIONS, async (n) => {
    const key = `${Math.floor(n / 1000)}/object-${n}`;
    const body = noise(SMALL_BYTES, `${text} ${n}`);
    await putWhole(ctx, client, place, { ...NEW, bucket: 'small', key, bytes: body.length, sha256: null }, body, '');
  });
}

/** By way of a file, which rclone writes in parts as large as it finds right. */
function fillLarge(dir: string, server: S3Server, bytes: number): void {
  const path = join(dir, 'large');
  for (let n = 0; n < LARGE; n++) {
    rmSync(path, { force: true });
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      appendFileSync(path, noise(Math.min(PIECE_BYTES, bytes - at), `${n} ${at}`));
    }
    execFileSync('rclone', ['copyto', '--quiet', path, `there:large/large-${n}`], { env: rcloneEnv(server) });
  }
  rmSync(path);
}

const NEW = { version: null, latest: true, modified: '2026-01-01T00:00:00.000Z' };

function* numbers(count: number): Iterable<number> {
  for (let n = 0; n < count; n++) yield n;
}
