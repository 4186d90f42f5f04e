import type { Command } from 'commander';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { copyPoints, type Drivers } from '../../engine/copy.ts';
import { type CopiedJournal, copyJournals } from '../../engine/copy-journal.ts';
import { heldBy } from '../../engine/model.ts';
import { choosePoint, listPoints } from '../../engine/points.ts';
import { driverNames, driverPlugin } from '../plugins.ts';
import { type Bind, errorJson } from '../session.ts';
import { openStack } from '../stack.ts';
import { bytesText, plural } from '../terminal.ts';

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
    const told = views.map(({ point }) => point).filter(({ id }) => points.includes(id));
    const components = words.length === 0 ? null : new Set(told.flatMap(heldBy));
    const journals = await copyJournals(ctx, {
      from: from.store,
      to: to.store,
      components: await Array.fromAsync(from.store.journals(ctx)).then((all) =>
        all.filter((name) => components?.has(name) ?? true),
      ),
    });
    const json = copied.map(({ error, ...each }) => ({ ...each, ...(error === null ? {} : errorJson(error)) }));
    const journalsJson = journals.map(({ error, ...each }) => ({
      ...each,
      ...(error === null ? {} : errorJson(error)),
    }));
    session.print({ from: from.name, to: to.name, points: json, journals: journalsJson }, () => {
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
        ...journals.map(journalText),
      ].join('\n');
    });
    return failed.length === 0 && journals.every(({ error }) => error === null || isKeptUp(error)) ? 0 : 3;
  });
}

/** Who follows copies as well, to the stores that he was given. */
function isKeptUp(error: unknown): boolean {
  return isFailure(error, 'locked');
}

function journalText({ component, ranges, bytes, ahead, error }: CopiedJournal): string {
  if (ahead) return `journal of ${component}: left as it is, it has a newer log than the one to be copied`;
  if (error === null) return `journal of ${component}: ${plural(ranges, 'range')} copied, ${bytesText(bytes)}`;
  if (isKeptUp(error)) return `journal of ${component}: left to who writes it: ${messageOf(error)}`;
  return `journal of ${component}: FAILED: ${messageOf(error)}`;
}

/** Of the kinds that are in these points, as far as this program knows them. */
async function driversOf(points: readonly RecoveryPoint[]): Promise<Drivers> {
  const kinds = new Set(points.flatMap(({ components }) => Object.values(components).map(({ kind }) => kind)));
  const known = [...kinds].filter((kind) => driverNames().includes(kind));
  return new Map(
    await Promise.all(known.map(async (kind) => [kind, await (await driverPlugin(kind)).driver()] as const)),
  );
}
