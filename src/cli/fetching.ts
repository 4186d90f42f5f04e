// What a server runs for its log after a restore of ours has ended: this very program, with this configuration.

import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StackComponent } from '../engine/model.ts';
import type { Moment } from '../engine/moment.ts';
import type { Config } from './config/model.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/lifeboat', import.meta.url));

/** With the command for those components whose driver can give the log file by file. It names no secret. */
export function fetchedLater(
  moment: Moment,
  { file, stores }: Pick<Config, 'file' | 'stores'>,
  store: string,
  components: readonly StackComponent[],
): Moment {
  const isHere = stores.some(({ url }) => !url.includes('://') && !isAbsolute(url));
  const where = isHere ? ['--directory', resolve('.')] : [];
  const origins = new Map(moment.origins);
  for (const { name, driver } of components) {
    const origin = origins.get(name);
    if (!origin?.replay || !driver.fetchLog) continue;
    const command = [PROGRAM, 'wal-fetch', '--config', resolve(file), '--component', name, '--store', store, ...where];
    origins.set(name, { ...origin, replay: { ...origin.replay, command } });
  }
  return { ...moment, origins };
}
