import type { Command } from 'commander';
import { manifestJson } from '../../core/manifest.ts';
import { heldBy } from '../../engine/model.ts';
import { listEverywhere, noteUnreadable, pointsOf, provedText, unreadableJson } from '../across.ts';
import { namesOption } from '../options.ts';
import type { Bind } from '../session.ts';
import { openStack } from '../stack.ts';
import { bytesText, plural, table } from '../terminal.ts';
import { pointBytes } from '../views.ts';
import { momentsJson, momentsOf, momentsText } from '../windows.ts';

export function define(command: Command, bind: Bind): void {
  command.addOption(namesOption('--store <stores>', 'only these stores')).addHelpText(
    'after',
    `
Examples:
  lifeboat list
  lifeboat list --json | jq -r '.points[-1].id'`,
  );
  bind<{ store?: readonly string[] }>(command, async (session, { store }) => {
    const config = await session.config();
    await using stack = await openStack(session.ctx, config, { stores: store, components: [] });
    const listing = await listEverywhere(session.ctx, stack);
    const points = pointsOf(listing);
    const names = config.components.map(({ name }) => name);
    const { moments, unreadable } = await momentsOf(session.ctx, listing, config.stack, names);
    const json = {
      points: points.map((each) => ({
        ...manifestJson(each.point),
        stores: each.in.map(({ store: name, view }) => ({
          name,
          proved_at: view.provedAt,
          copy_of_proved: view.copyOfProved,
        })),
      })),
      ...momentsJson(moments),
      ...unreadableJson(unreadable),
    };
    session.print(json, () => {
      if (points.length === 0) return 'no recovery points yet: run lifeboat backup';
      const rows = points.map((each) => [
        each.point.id,
        each.point.status,
        heldBy(each.point).join(', '),
        bytesText(pointBytes(each.point)),
        each.in.map(({ store: name }) => name).join(', '),
        provedText(each),
      ]);
      const titles = ['point (UTC)', 'status', 'components', 'size', 'stores', 'proved'];
      const told = table(
        titles.map((title) => ({ title, right: title === 'size' })),
        rows,
      );
      return [told, ...momentsText(moments, session.ctx.now())].join('\n');
    });
    noteUnreadable(session, unreadable);
    if (points.length > 0) session.note(plural(points.length, 'point'));
    return unreadable.length === 0 ? 0 : 3;
  });
}
