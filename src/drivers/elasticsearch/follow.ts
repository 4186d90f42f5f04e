// A search server has no log that could be followed: what follows it is one point after the other, and there are no
// moments between them.

import type { Feed } from '../../core/journal.ts';
import type { Context } from '../../core/model.ts';
import type { Settings } from './settings.ts';

export async function follow(ctx: Context, { followEveryMs }: Settings, feed: Feed): Promise<never> {
  for (;;) {
    const begun = ctx.monotonicMs();
    await feed.base(ctx, 'it has no log that could be followed: a point is taken at an interval');
    await ctx.sleep(Math.max(0, followEveryMs - (ctx.monotonicMs() - begun)));
  }
}
