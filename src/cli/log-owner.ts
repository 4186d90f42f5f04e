// The component whose server asks for its log, or hands it over, by a command of ours.

import type { Driver } from '../core/driver.ts';
import { Failure } from '../core/errors.ts';
import type { Config } from './config/model.ts';
import { pickComponents } from './stack.ts';

const DOES = { fetchLog: 'fetches', fetchLogAhead: 'fetches ahead', pushLog: 'hands over' } as const;

/** The named one, or the only one that can; 'ambiguous' where there are several. */
export async function logOwner<K extends keyof typeof DOES>(
  config: Config,
  wanted: string | undefined,
  ability: K,
): Promise<{ readonly name: string; readonly work: NonNullable<Driver[K]> }> {
  const among = wanted === undefined ? config.components : pickComponents(config, [wanted]);
  const found: { name: string; work: NonNullable<Driver[K]> }[] = [];
  for (const { name, driver } of among) {
    const work = (await driver())[ability];
    if (work) found.push({ name, work });
  }
  const [only, ...others] = found;
  if (only && others.length === 0) return only;
  const none = wanted === undefined ? 'no component has a log' : `${wanted} has no log`;
  if (!only) throw new Failure('usage', `${none} that a server ${DOES[ability]} by itself`);
  throw new Failure('ambiguous', `the log of which component? ${found.map(({ name }) => name).join(', ')}`, {
    hint: 'name it by --component',
  });
}
