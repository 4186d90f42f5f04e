// What crash tests share: a seed that they print, troubles at random, and the place where a long run is told.

import { readFileSync, writeFileSync } from 'node:fs';
import { randomNumbers } from '../../bench/data.ts';
import { withSection } from '../../bench/page.ts';
import { until as untilWithin } from '../servers/processes.ts';

/** On a busy machine. */
const WAIT_MS = 300_000;
const PAGE_WRITER = 'npm run test:slow -- --crash';

/** Whoever begins has to get somewhere now and then. */
const RESTS_MS = 4000;

export type Chance = (below: number) => number;
export type Acts = Readonly<Record<string, () => Promise<void>>>;

/** CRASH_SEED repeats a run, as far as what is killed when goes. */
export const seed = process.env.CRASH_SEED ?? String(Math.floor(Math.random() * 1e9));

/** A number of its own for each that draws, whatever the others do meanwhile. */
export function chanceOf(who: string): Chance {
  const random = randomNumbers(`${seed} ${who}`);
  return (below) => (below < 1 ? 0 : random() % Math.floor(below));
}

/** From the environment, where a long run says it. */
export function howMuch(short: { seconds: number; moments: number }): { seconds: number; moments: number } {
  const { CRASH_SECONDS = short.seconds, CRASH_MOMENTS = short.moments } = process.env;
  return { seconds: Number(CRASH_SECONDS), moments: Number(CRASH_MOMENTS) };
}

export interface Trouble {
  readonly chance: Chance;
  readonly counts: Map<string, number>;
  /** Somebody else has failed. */
  readonly signal: AbortSignal;
}

/** One act after the other until the time is over; counts them. */
export async function wreak(acts: Acts, { chance, counts, signal }: Trouble, ms: number): Promise<void> {
  const names = Object.keys(acts);
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs && !signal.aborted) {
    await pause(300 + chance(RESTS_MS));
    const name = names[chance(names.length)] ?? '';
    await acts[name]?.();
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
}

/** Until all of them have ended, which they do when one has failed. To what was done how often. */
export async function atOnce(
  hands: Readonly<Record<string, (trouble: Trouble) => Promise<void>>>,
): Promise<ReadonlyMap<string, number>> {
  const stop = new AbortController();
  const counts = new Map<string, number>();
  const works = Object.entries(hands).map(async ([who, work]) => {
    try {
      await work({ chance: chanceOf(who), counts, signal: stop.signal });
    } catch (error) {
      stop.abort();
      throw error;
    }
  });
  await Promise.allSettled(works);
  await Promise.all(works);
  return counts;
}

export function told(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${name} ${count} ×`).join(', ');
}

/** Into docs/testing.md, or wherever CRASH_PAGE says; nowhere without it. */
export function record(name: string, result: string): void {
  const page = process.env.CRASH_PAGE;
  if (page !== undefined) writeFileSync(page, withSection(readFileSync(page, 'utf8'), name, result, PAGE_WRITER));
}

/** `words`: of those who are waited for. */
export async function until(what: string, isSo: () => Promise<boolean>, words = (): string => ''): Promise<void> {
  await untilWithin(what, WAIT_MS, isSo).catch((error: unknown) => {
    throw new Error(`${error}, seed ${seed}: ${words()}`);
  });
}

export async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
