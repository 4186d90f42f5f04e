// What the collector would let lie while nothing happens.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: {
  readonly type: 'major';
  readonly execution: 'async';
  readonly flavor: string;
}) => Promise<void>;

/**
 * After work that took much memory, when little is done for a long time: nobody allocates then, so that buffers which
 * nobody has any more would stay for hours.
 */
export async function giveBackMemory(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect: Collect = runInNewContext('gc');
  await collect({ type: 'major', execution: 'async', flavor: 'last-resort' });
}
