// Very many objects: how much memory they take, and how many are listed and compared with the last point in a second.

import { join } from 'node:path';
import { startGeneratedS3 } from '../test/servers/s3-generated.ts';
import { lifeboatWith, resticStore } from './lifeboat.ts';
import { alone, interleaved, type Row, type Stage } from './measure.ts';

const CHANGED_ONE_IN = 100;

/** Once each: what counts here is the peak. The server makes its objects up. */
export async function measureObjects(
  dir: string,
  objects: number,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using server = await startGeneratedS3(objects);
  const env = { ...process.env, AWS_ACCESS_KEY_ID: 'nobody', AWS_SECRET_ACCESS_KEY: 'asks' };
  const component = { kind: 's3', ...server.settings };
  const store = resticStore(join(dir, 'store'));
  const lifeboat = await lifeboatWith(join(dir, 'lifeboat.yaml'), { store, component, env });
  const works = {
    first: `${objects} objects, first backup`,
    again: `${objects} objects, listed and compared with the last point`,
    changed: `${objects} objects, again, one in ${CHANGED_ONE_IN} changed`,
  };
  const stage = (name: string, before?: () => Promise<void>): Stage => ({
    ...(before ? { before } : {}),
    candidates: [{ name, run: () => lifeboat(['backup']) }],
  });
  const change = (): Promise<void> => server.change(CHANGED_ONE_IN);
  const stages = [stage(works.first), stage(works.again), stage(works.changed, change)];
  const taken = await interleaved(1, () => stages, say);
  return Object.values(works).map((name) => {
    const rate = Math.round(objects / (taken.get(name)?.[0]?.wallS ?? Number.NaN));
    return alone(taken, `${name}: ${rate} in a second`, name, {});
  });
}
