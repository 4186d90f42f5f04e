// Whether what was captured joins the log that is stored: it does by name and place, and must be of the same service.

import { messageOf } from '../core/errors.ts';
import type { Capture, Context } from '../core/model.ts';
import type { Lane } from './fan-out.ts';
import type { StackComponent } from './model.ts';

const ANOTHER =
  'it joins no log: the one that is stored has other bytes than that of the service it was taken from. Two primaries, or a ' +
  'copy that went on?';

/** Without the place in a log that turns out to be another service's. */
export async function joined(
  ctx: Context,
  lanes: readonly Lane[],
  { name, component }: StackComponent,
  made: Capture,
): Promise<Capture> {
  const { journal, ...rest } = made;
  if (!journal || !component.joins) return made;
  for (const { store } of lanes) {
    try {
      const isOne = await component.joins(ctx, journal, store.journal(name));
      if (isOne === null) continue; // another store may have more of it
      return isOne ? made : { ...rest, warnings: [...made.warnings, ANOTHER] };
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      // A restore compares what it replays.
      ctx.log.warn('whether a point joins the log that is stored could not be told', {
        component: name,
        reason: messageOf(error),
      });
    }
  }
  return made;
}
