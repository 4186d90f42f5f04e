// `lifeboat follow` as a process of its own, and how far it has come.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { localBucket } from '../src/buckets/local/bucket.ts';
import { liveContext } from '../src/core/testing.ts';
import { resticFormat } from '../src/stores/restic/store.ts';
import { LIFEBOAT } from './lifeboat.ts';
import type { Measured } from './measure.ts';

const TICKS_PER_S = 100;
export const DEADLINE_MS = 120_000;

/** By the clock of the source. */
export async function storedUpTo(dir: string): Promise<string> {
  const ctx = liveContext();
  const settings = { stack: 'bench', password: 'bench' };
  await using store = await resticFormat.open(ctx, localBucket(join(dir, 'store')), settings);
  const stretches = await Array.fromAsync(store.journal('data').stretches(ctx));
  return stretches.at(-1)?.to.at ?? new Date(0).toISOString();
}

export interface Started extends AsyncDisposable {
  readonly process: ChildProcess;
}
export function started(program: string, args: readonly string[], env = process.env): Started {
  const child = spawn(program, args, { env, stdio: 'ignore' });
  const closed = new Promise<void>((resolve, reject) => child.once('error', reject).once('close', () => resolve()));
  return {
    process: child,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null) child.kill('SIGINT');
      await closed;
    },
  };
}

/** Kills a server under load. How long before that ends what had come to be stored, in seconds. */
export async function lossByKilling(dir: string, server: { kill(): Promise<void> }): Promise<number> {
  const killedAt = Date.now();
  await server.kill();
  await delay(4000);
  return Math.max(0, (killedAt - Date.parse(await storedUpTo(dir))) / 1000);
}

/** As soon as its base is taken. */
export async function following(dir: string, file: string): Promise<Started> {
  const follower = started(LIFEBOAT, ['--config', file, 'follow', 'data']);
  const list = (): string => execFileSync(LIFEBOAT, ['--config', file, 'list', '--json'], { encoding: 'utf8' });
  const before = await storedUpTo(dir);
  for (const at = Date.now(); !/"id"/.test(list()) || (await storedUpTo(dir)) === before; await delay(500)) {
    if (Date.now() - at > DEADLINE_MS) throw new Error('no base was taken');
  }
  return follower;
}

function cpuOf(pid: number): number {
  const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const [user = 0, system = 0] = fields.split(' ').slice(11, 13).map(Number);
  return (user + system) / TICKS_PER_S;
}
export function rssOf(pid: number): number {
  const [, kib = '0'] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

/** Who follows a server on which nothing is done, for so long. */
export async function idling(follower: Started, idleS: number, say: (line: string) => void): Promise<Measured> {
  const { pid = 0 } = follower.process;
  await delay(5000);
  const [before, at] = [cpuOf(pid), performance.now()];
  await delay(idleS * 1000);
  const wallS = (performance.now() - at) / 1000;
  const idle = { wallS, cpuS: cpuOf(pid) - before, othersCpuS: 0, peakMiB: rssOf(pid) };
  say(`idle: CPU ${idle.cpuS.toFixed(2)} s in ${wallS.toFixed(0)} s, ${idle.peakMiB.toFixed(0)} MiB`);
  return idle;
}
/** How that row is called. */
export function idleText({ cpuS, wallS }: Measured): string {
  const percent = ((100 * cpuS) / wallS).toFixed(2);
  return `following an idle server: CPU of ${percent} % must be below 1 %, memory 150 MiB`;
}
