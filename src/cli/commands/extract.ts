import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Context, Merged, Selection } from '../../core/model.ts';
import { type ExtractRequest, extractRows, type MergeRequest, mergeRows } from '../../engine/extract.ts';
import type { StackComponent } from '../../engine/model.ts';
import { chooseEverywhere, listEverywhere, noteUnreadable, unreadableJson } from '../across.ts';
import { confirm } from '../confirm.ts';
import { namesOption, repeatedOption } from '../options.ts';
import { needPlaceFor } from '../output.ts';
import { processSandboxes } from '../plugins.ts';
import type { Bind, Session } from '../session.ts';
import { type OpenStack, openStack, pickComponents } from '../stack.ts';
import { countText, plural } from '../terminal.ts';
import { parseTime } from '../times.ts';

interface Options {
  readonly from: string;
  readonly database?: string;
  readonly table?: string;
  readonly where?: string;
  readonly keys?: readonly string[];
  readonly path?: readonly string[];
  readonly into?: string;
  readonly missingOnly?: true;
  readonly overwrite?: true;
  readonly at?: string;
  readonly store?: readonly string[];
  readonly output?: string;
  readonly yes?: true;
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('[point]', "'latest', 'latest-proved', an id or the beginning of one", 'latest')
    .requiredOption('--from <component>', 'the component that held it')
    .option('--database <name>', 'the database, when it has several')
    .option('--table <name>', 'the table')
    .option('--where <sql>', 'which rows')
    .addOption(repeatedOption('--keys <pattern>', 'which keys (redis)'))
    .addOption(repeatedOption('--path <path>', 'which files'))
    .option('--into <component>', 'put it into this live component: the difference is shown first')
    .option('--missing-only', 'with --into: only add what is not there')
    .option('--overwrite', 'with --into: also replace what is different')
    .option('--at <time>', 'the newest point before this time')
    .addOption(namesOption('--store <stores>', 'only from these stores'))
    .option('--output <file>', 'write the rows there as JSON lines; - is standard output (also with --json)')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
Examples:
  lifeboat extract latest --from main-db --table orders --where "id = 7"
  lifeboat extract --at '2h ago' --from main-db --table customers --where "id < 100" --into main-db --missing-only
  lifeboat extract latest --from cache --keys 'session:*' --output sessions.ndjson

Rows are as many as there are, so on standard output they are always JSON lines, one row each. With --json a failure is
the last line, {"error":…}, and --output and --into print one JSON document.`,
    );
  bind<Options>(command, async (session, options, [word]) => {
    const { ctx } = session;
    if (options.into === undefined && (options.missingOnly || options.overwrite)) {
      throw new Failure('usage', '--missing-only and --overwrite need --into');
    }
    if (options.into !== undefined && options.output !== undefined) {
      throw new Failure('usage', 'either --into or --output');
    }
    const output = options.output ?? '-';
    if (output !== '-') await needPlaceFor(output, '--output');
    const config = await session.config();
    const names = [options.from, ...(options.into === undefined ? [] : [options.into])];
    pickComponents(config, names);
    await using stack = await openStack(ctx, config, { stores: options.store, components: names });
    const at = options.at === undefined ? undefined : parseTime(options.at, ctx.now());
    const wanted = { word: at === undefined ? word : undefined, at, components: [options.from] };
    const choice = chooseEverywhere(await listEverywhere(ctx, stack), config.stack, wanted);
    const { store, chosen, unreadable } = choice;
    noteUnreadable(session, unreadable);
    const request: ExtractRequest = {
      from: store,
      point: chosen.point,
      component: componentOf(stack, options.from),
      selection: selectionOf(options),
      sandboxes: await processSandboxes(),
    };
    session.note(`from point ${chosen.point.id} of store ${store.name}`);
    const hidden = unreadableJson(unreadable);
    if (options.into === undefined) await write(session, request, output, hidden);
    else await merge(session, options, { ...request, into: componentOf(stack, options.into) }, hidden);
    return unreadable.length === 0 ? 0 : 3;
  });
}

function componentOf(stack: OpenStack, name: string): StackComponent {
  const found = stack.components.find((each) => each.name === name);
  if (!found) throw new Error(`${name} was picked`);
  return found;
}

function selectionOf({ database, table, where, keys, path }: Options): Selection {
  if (where !== undefined && table === undefined) throw new Failure('usage', '--where needs --table');
  if (table === undefined && keys === undefined && path === undefined) {
    throw new Failure('usage', 'what shall be extracted?', { hint: 'name it with --table, --keys or --path' });
  }
  return {
    ...(database === undefined ? {} : { database }),
    ...(table === undefined ? {} : { tables: [table] }),
    ...(where === undefined ? {} : { where }),
    ...(keys === undefined ? {} : { keys }),
    ...(path === undefined ? {} : { paths: path }),
  };
}

async function write(session: Session, request: ExtractRequest, output: string, hidden: object): Promise<void> {
  const { ctx } = session;
  let rows = 0;
  async function* lines(): AsyncIterable<string> {
    for await (const row of extractRows(ctx, request)) {
      rows += 1;
      yield `${JSON.stringify(row)}\n`;
    }
  }
  const body = Readable.from(lines(), { objectMode: false });
  if (output === '-') {
    await toStdout(ctx, body);
    if (rows === 0) session.note('nothing in it matches');
  } else {
    await pipeline(body, createWriteStream(output, { mode: 0o600 }), { signal: ctx.signal });
    session.print({ rows, output, ...hidden }, `${plural(rows, 'row')} in ${output}`);
  }
}

async function toStdout(ctx: Context, body: Readable): Promise<void> {
  try {
    await pipeline(body, process.stdout, { signal: ctx.signal, end: false });
  } catch (error) {
    if (systemCode(error) !== 'EPIPE') throw error; // the reader has seen enough
  }
}

async function merge(
  session: Session,
  options: Options,
  request: Omit<MergeRequest, 'mode' | 'confirm'>,
  hidden: object,
): Promise<void> {
  if (options.missingOnly && options.overwrite) throw new Failure('usage', 'either --missing-only or --overwrite');
  const mode = options.overwrite ? 'overwrite' : options.missingOnly ? 'missing-only' : 'preview';
  const { difference, applied } = await mergeRows(session.ctx, {
    ...request,
    mode,
    async confirm(found) {
      const text = `${differenceText(found)}; ${mode === 'overwrite' ? 'the missing ones are added, the different ones replaced' : 'the missing ones are added'}`;
      // What is only added can be removed again; what is replaced without a person watching needs a word.
      if (mode === 'overwrite' || session.interactive) await confirm(session, options.yes === true, text, 'yes');
      else session.note(text);
      return true;
    },
  });
  session.print({ mode, difference, applied, ...hidden }, () => {
    if (applied) return `${countText(applied.applied)} brought back into ${request.into.name}`;
    const next = mode === 'preview' ? '; nothing was changed: add --missing-only or --overwrite' : '; nothing to do';
    return `${differenceText(difference)}${next}`;
  });
}

function differenceText({ missing, different, same, expired = 0 }: Merged): string {
  const passed = expired > 0 ? `, ${countText(expired)} left out because their time has come` : '';
  return `${countText(missing)} missing, ${countText(different)} different, ${countText(same)} the same${passed}`;
}
