import type { Command } from 'commander';
import { stringify } from 'yaml';
import { Failure } from '../../core/errors.ts';
import { nearest } from '../../core/settings.ts';
import { type Linted, type LintFinding, lint, RULE_WORDS } from '../../engine/lint/lint.ts';
import type { Change } from '../../engine/lint/setup.ts';
import type { Config } from '../config/model.ts';
import { alertsOf, type Looked, lookHere, setupOf } from '../linting.ts';
import { namesOption } from '../options.ts';
import type { Bind } from '../session.ts';
import { plural } from '../terminal.ts';

interface Options {
  readonly except?: readonly string[];
}

export function define(command: Command, bind: Bind): void {
  command
    .addOption(namesOption('--except <rules>', 'leave these rules out: what they find is known and accepted'))
    .addHelpText(
      'after',
      `
No service and no store elsewhere is asked. Stores on this machine tell how long captures and drills took.
Each rule and the mistake behind it: docs/lint.md. Rules:
  ${RULE_WORDS.join(', ')
    .replaceAll(/(.{1,100})(?:, |$)/g, '$1\n  ')
    .trimEnd()}

Examples:
  lifeboat lint                         exit code 3 with findings, 0 without
  lifeboat lint --except unencrypted    the disk is encrypted itself
  lifeboat --config new.yaml lint       before it is put to work`,
    );
  bind<Options>(command, async (session, { except = [] }) => {
    for (const word of except) needRule(word);
    const { ctx } = session;
    const config = await session.config();
    const alerts = await alertsOf(config);
    const looked = await lookHere(ctx, config);
    const linted = lint(setupOf(config, ctx.now(), looked.measured, alerts), except);
    session.print(toJson(config, linted, looked), () => toText(config, linted, looked));
    return linted.findings.length === 0 ? 0 : 3;
  });
}

function needRule(word: string): void {
  if (RULE_WORDS.includes(word)) return;
  const near = nearest(word, RULE_WORDS);
  throw new Failure('usage', `there is no rule ${word}`, {
    hint: near ? `did you mean ${near}?` : `rules: ${RULE_WORDS.join(', ')}`,
  });
}

function toJson(config: Config, { findings, unjudged }: Linted, { stores }: Looked): object {
  return {
    file: config.file,
    findings: findings.map(({ rule, at, place, why, change, advice }) => ({
      rule,
      at: at.join('.'),
      file: place?.file ?? config.file,
      line: place?.line ?? config.lineOf(at),
      why,
      change: change.map(({ path, to }) => ({ path, ...(to === undefined ? { remove: true } : { to }) })),
      ...(advice === undefined ? {} : { advice }),
    })),
    unjudged: unjudged.map(({ rule, at, why }) => ({ rule, at: at.join('.'), why })),
    stores_read: stores.map(({ name, error }) => ({ name, ...(error === null ? {} : { error }) })),
  };
}

/** As people read it: what is the same for several is told once. */
function toText(config: Config, { findings, unjudged }: Linted, { stores }: Looked): string {
  const read = stores.filter(({ error }) => error === null).map(({ name }) => name);
  const alike = Map.groupBy(findings, ({ rule, place, why, change }) => JSON.stringify([rule, place, why, change]));
  const lines = [...alike.values()].map((group) => findingText(config, group));
  const from = read.length === 0 ? 'alone' : `and earlier runs in ${read.join(', ')}`;
  lines.push(`${plural(findings.length, 'finding')} from ${config.file} ${from}`);
  for (const { name, error } of stores) if (error !== null) lines.push(`store ${name} was not read: ${error}`);
  for (const [key, where] of Map.groupBy(unjudged, ({ rule, why }) => `${rule}: ${why}`)) {
    lines.push(`not judged: ${key} (${where.map(({ at }) => at.slice(1).join('.')).join(', ')})`);
  }
  return lines.join('\n');
}

function findingText(config: Config, [first, ...others]: readonly LintFinding[]): string {
  if (!first) return '';
  const { rule, at, place, why, change, advice } = first;
  const { file, line } = place ?? { file: config.file, line: config.lineOf(at) };
  const where = [first, ...others].map((each) => each.at.join('.')).join(', ');
  const lines = [`${file}${line === null ? '' : `:${line}`}: ${rule}: ${where}: ${why}`];
  const changes = [...change.map(changeText), ...(advice === undefined ? [] : [advice])];
  for (const [index, text] of changes.entries()) lines.push(index === 0 ? `  smallest change: ${text}` : `    ${text}`);
  return `${lines.join('\n')}\n`;
}

/** As it is written in the file. */
function changeText({ path, to }: Change): string {
  if (to === undefined) return `leave out ${path.join('.')}`;
  const quotes = typeof to === 'string' ? 'QUOTE_DOUBLE' : 'PLAIN';
  const options = { defaultStringType: quotes, flowCollectionPadding: !Array.isArray(to) } as const;
  return `${path.join('.')}: ${stringify(to, { ...options, collectionStyle: 'flow', lineWidth: 0 }).trimEnd()}`;
}
