// What a user waits for before anything happens.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { LIFEBOAT, lifeboatWith, resticStore } from './lifeboat.ts';
import { alone, interleaved, measure, type Row } from './measure.ts';

const VERSION = 'lifeboat --version';
const POINTS = join(import.meta.dirname, 'points.ts');

export async function measureStart(
  dir: string,
  { points, rounds }: { points: number; rounds: number },
  say: (line: string) => void,
): Promise<readonly Row[]> {
  const store = resticStore(join(dir, 'store'));
  execFileSync(process.execPath, [POINTS, join(dir, 'store'), String(points)]);
  const component = { kind: 'files', paths: ['/'] };
  const lifeboat = await lifeboatWith(join(dir, 'lifeboat.yaml'), { store, component });
  const list = `lifeboat list of ${points} points`;
  const candidates = [
    { name: VERSION, run: () => measure(LIFEBOAT, ['--version'], process.env) },
    { name: list, run: () => lifeboat(['list']) },
  ];
  const taken = await interleaved(rounds, () => [{ candidates }], say);
  return [alone(taken, VERSION, VERSION, { wallS: 0.15 }), alone(taken, list, list, { wallS: 1 })];
}
