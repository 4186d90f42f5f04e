import { tmpdir } from 'node:os';
import type { Context } from '../src/core/model.ts';

/** For programs that are measured: silent, with the real clock. */
export const ctx: Context = {
  signal: new AbortController().signal,
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  progress: () => {},
  log: { debug: () => {}, info: () => {}, warn: console.error, error: console.error },
  env: process.env,
  scratch: tmpdir(),
};
