import type { Command } from 'commander';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { copyPoints, type Drivers } from '../../engine/copy.ts';
import { choosePoint, listPoints } from '../../engine/points.ts';
import { driverNames, driverPlugin } from '../plugins.ts';
import { type Bind, errorJson } from '../session.ts';
import { openStack } from '../stack.ts';
import { plural } from '../terminal.ts';

interface Options {
  readonly from: string;
  readonly to: string;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('[points...]', 'only these points; all that are missing there when left out')
    .requiredOption('--from <store>', 'the store that has them')
    .requiredOption('--to <store>', 'the store that shall have them')
    .addHelpText('after', '\nExample: lifeboat copy --from local --to offsite');
  bind<Options>(command, async (session, options, words) => {
    const { ctx } = session;
    const config = await session.config();
    if (options.from === options.to) throw new Failure('usage', '--from and --to name the same store');
    await using stack = await openStack(ctx, config, { stores: [options.from, options.to], components: [] });
    const [lost] = stack.failed;
    if (lost) throw lost.error;
    const storeOf = (name: string) => stack.stores.find((each) => each.name === name);
    const [from, to] = [storeOf(options.from), storeOf(options.to)];
    if (!from || !to) throw new Error('both stores are open');
    const views = await listPoints(ctx, from);
    const points = words.map((word) => choosePoint(views, config.stack, { word }).point.id);
    const drivers = await driversOf(
      views.map(({ point }) => point).filter(({ id }) => words.length === 0 || points.includes(id)),
    );
    const copied = await copyPoints(ctx, { from, to, drivers, ...(words.length === 0 ? {} : { points }) });
    const failed = copied.filter(({ error }) => error !== null);
    const json = copied.map(({ error, ...each }) => ({ ...each, ...(error === null ? {} : errorJson(error)) }));
    session.print({ from: from.name, to: to.name, points: json }, () => {
      const moved = copied.filter((each) => each.moved).length;
      const lines = failed.map(({ point, error }) => {
        const hint = isFailure(error) && error.hint ? `\n  ${error.hint}` : '';
        return `${point}: FAILED: ${messageOf(error)}${hint}`;
      });
      const there = copied.length - moved - failed.length;
      return [
        `${plural(moved, 'point')} copied from ${from.name} to ${to.name}, ${there} there already`,
        ...lines,
        ...copied
          .filter((each) => each.moved)
          .flatMap(({ point, outside }) =>
            outside.map((name) => `${point}: the data of ${name} lies outside the stores and was not copied`),
          ),
      ].join('\n');
    });
    return failed.length === 0 ? 0 : 3;
  });
}

/** Of the kinds that are in these points, as far as this program knows them. */
async function driversOf(points: readonly RecoveryPoint[]): Promise<Drivers> {
  const kinds = new Set(points.flatMap(({ components }) => Object.values(components).map(({ kind }) => kind)));
  const known = [...kinds].filter((kind) => driverNames().includes(kind));
  return new Map(
    await Promise.all(known.map(async (kind) => [kind, await (await driverPlugin(kind)).driver()] as const)),
  );
}
