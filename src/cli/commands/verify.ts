import type { Command } from 'commander';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import type { ComponentOf } from '../../engine/external.ts';
import type { NamedStore } from '../../engine/model.ts';
import type { Wanted } from '../../engine/points.ts';
import { type Verified, verifyPoints } from '../../engine/verify.ts';
import { chooseEverywhere, listEverywhere, noteUnreadable, unreadableJson } from '../across.ts';
import { namesOption } from '../options.ts';
import type { Bind } from '../session.ts';
import { componentsOnDemand, type OpenStack, openStack } from '../stack.ts';
import { plural } from '../terminal.ts';
import { findingLines } from '../views.ts';

interface Options {
  readonly all?: true;
  readonly readData?: string | true;
  readonly store?: readonly string[];
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('[point]', "'latest', 'latest-proved', an id or the beginning of one; everything when left out")
    .option('--all', 'every point and the store itself (as when no point is named)')
    .option('--read-data [share]', 'also read and hash the data, all of it or a share such as 10%')
    .addOption(namesOption('--store <stores>', 'only these stores'))
    .addHelpText(
      'after',
      `
Examples:
  lifeboat verify                        structure of everything
  lifeboat verify latest --read-data
  lifeboat verify --all --read-data=10%  every run reads the next tenth`,
    );
  bind<Options>(command, async (session, options, [word]) => {
    const { ctx } = session;
    if (options.all && word !== undefined) throw new Failure('usage', 'either a point or --all');
    const readData = shareOf(options.readData);
    const config = await session.config();
    await using stack = await openStack(ctx, config, { stores: options.store, components: [] });
    const components = config.components.map(({ name }) => name);
    const { results, unreadable } = await verifyAll(ctx, config.stack, stack, {
      ...{ word, components, readData },
      componentOf: componentsOnDemand(ctx, config),
    });
    const json = { stores: results.map(toJson), ...unreadableJson(unreadable) };
    session.print(json, () => results.map(toText).join('\n'));
    noteUnreadable(session, unreadable);
    if (results.some(({ verified }) => verified.findings.verdict === 'fail')) {
      throw new Failure('checksum', 'damage was found; it is listed above', {
        hint: 'run lifeboat backup: it stores again what the source still has; points without damage restore as ever',
      });
    }
    return unreadable.length === 0 && results.every(({ verified }) => verified.findings.verdict === 'pass') ? 0 : 3;
  });
}

interface Result {
  readonly store: string;
  readonly verified: Verified;
}
interface Target {
  readonly store: NamedStore;
  /** All of the store when left out. */
  readonly points?: readonly RecoveryPoint[];
}

interface Wish {
  /** All of every store when left out. */
  readonly word: string | undefined;
  /** All that is configured: the latest point is the one that restore and drill would take. */
  readonly components: readonly string[];
  readonly readData: number;
  /** For data that lies outside the stores. */
  readonly componentOf?: ComponentOf | undefined;
}

/** Of every store that can be read. Throws when there is none, or none has the point. */
export async function verifyAll(
  ctx: Context,
  stack: string,
  open: Pick<OpenStack, 'stores' | 'failed'>,
  { word, components, readData, componentOf }: Wish,
): Promise<{ readonly results: readonly Result[]; readonly unreadable: OpenStack['failed'] }> {
  const { targets, failed } =
    word === undefined
      ? { targets: open.stores.map((store): Target => ({ store })), failed: open.failed }
      : await targetsOf(ctx, stack, open, { word, components });
  const results: Result[] = [];
  const unreadable = [...failed];
  for (const { store, points } of targets) {
    try {
      results.push({
        store: store.name,
        verified: await verifyPoints(ctx, { in: store, points, readData, componentOf }),
      });
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      unreadable.push({ name: store.name, error });
    }
  }
  if (results.length === 0) throw unreadable[0]?.error;
  return { results, unreadable };
}

/** The point that the word means among those of all stores, wherever it lies. */
async function targetsOf(
  ctx: Context,
  stack: string,
  open: Pick<OpenStack, 'stores' | 'failed'>,
  wanted: Wanted,
): Promise<{ readonly targets: readonly Target[]; readonly failed: OpenStack['failed'] }> {
  const listing = await listEverywhere(ctx, open);
  const { id } = chooseEverywhere(listing, stack, wanted).chosen.point;
  const targets = listing.stores.flatMap(({ store, views }): Target[] => {
    const view = views.find(({ point }) => point.id === id && point.stack === stack);
    return view ? [{ store, points: [view.point] }] : [];
  });
  return { targets, failed: listing.unreadable };
}

function shareOf(text: string | true | undefined): number {
  if (text === undefined) return 0;
  if (text === true) return 1;
  const [, number] = /^(\d+(?:\.\d+)?)%$/.exec(text) ?? [];
  const share = Number(number) / 100;
  if (share > 0 && share <= 1) return share;
  throw new Failure('usage', `--read-data ${text} is no share such as 10%`);
}

function toJson({ store, verified: { points, findings, windows, gaps, coverage } }: Result): object {
  return {
    store,
    points,
    verdict: findings.verdict,
    findings,
    windows,
    gaps,
    coverage: coverage && {
      shares_read: coverage.sharesRead,
      all_read_since: coverage.allReadSince,
      runs_for_all: coverage.runsForAll,
    },
  };
}

function toText({ store, verified: { points, findings, windows, gaps, coverage } }: Result): string {
  const lines = [
    `${store}: ${findings.verdict}: ${plural(points, 'point')}, ${plural(findings.tally.pass, 'check')} passed`,
  ];
  if (coverage) {
    const since = coverage.allReadSince === null ? '' : `, all of it since ${coverage.allReadSince}`;
    lines.push(`${coverage.sharesRead} % of the data has been read by such runs${since}`);
  }
  const proved = windows.filter(({ verdict }) => verdict === 'pass');
  const whole = [...proved, ...gaps].map(({ check, detail }) => `${check}: ${detail}`);
  return [...lines, ...whole, ...findingLines(findings)].join('\n');
}
