import type { Command } from 'commander';
import { Failure } from '../../core/errors.ts';
import type { RecoveryPoint } from '../../core/model.ts';
import { choosePoint, listPoints } from '../../engine/points.ts';
import { type Verified, verifyPoints } from '../../engine/verify.ts';
import type { Bind } from '../session.ts';
import { openStack } from '../stack.ts';
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
    .option('--store <names...>', 'only these stores')
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
    const results: { store: string; verified: Verified }[] = [];
    let missing: unknown;
    for (const store of stack.stores) {
      let points: readonly RecoveryPoint[] | undefined;
      if (word !== undefined) {
        try {
          points = [choosePoint(await listPoints(ctx, store), config.stack, { word }).point];
        } catch (error) {
          missing ??= error;
          continue;
        }
      }
      results.push({ store: store.name, verified: await verifyPoints(ctx, { in: store, points, readData }) });
    }
    if (results.length === 0) throw missing;
    const unreadable = stack.failed.map(({ name }) => name);
    session.print({ stores: results.map(toJson), unreadable_stores: unreadable }, () => results.map(toText).join('\n'));
    for (const name of unreadable) session.note(`store ${name} could not be opened: it was not verified`);
    if (results.some(({ verified }) => verified.findings.verdict === 'fail')) {
      throw new Failure('checksum', 'damage was found; it is listed above', {
        hint: 'run lifeboat backup: it stores again what the source still has; points without damage restore as ever',
      });
    }
    return unreadable.length === 0 && results.every(({ verified }) => verified.findings.verdict === 'pass') ? 0 : 3;
  });
}

function shareOf(text: string | true | undefined): number {
  if (text === undefined) return 0;
  if (text === true) return 1;
  const [, number] = /^(\d+(?:\.\d+)?)%$/.exec(text) ?? [];
  const share = Number(number) / 100;
  if (share > 0 && share <= 1) return share;
  throw new Failure('usage', `--read-data ${text} is no share such as 10%`);
}

function toJson({ store, verified: { points, findings, coverage } }: { store: string; verified: Verified }): object {
  return {
    store,
    points,
    verdict: findings.verdict,
    findings,
    coverage: coverage && {
      shares_read: coverage.sharesRead,
      all_read_since: coverage.allReadSince,
      runs_for_all: coverage.runsForAll,
    },
  };
}

function toText({ store, verified: { points, findings, coverage } }: { store: string; verified: Verified }): string {
  const lines = [
    `${store}: ${findings.verdict}: ${plural(points, 'point')}, ${plural(findings.tally.pass, 'check')} passed`,
  ];
  if (coverage) {
    const since = coverage.allReadSince === null ? '' : `, all of it since ${coverage.allReadSince}`;
    lines.push(`${coverage.sharesRead} % of the data has been read by such runs${since}`);
  }
  return [...lines, ...findingLines(findings)].join('\n');
}
