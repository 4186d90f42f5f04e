// Reads rule files of Prometheus, as they are and as the manifests of its operator, for lint.

import { readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { type Document, isNode, LineCounter, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { Failure, messageOf, systemCode } from '../core/errors.ts';
import { parseQuery } from '../engine/lint/promql.ts';
import type { AlertSetup, RuleSetup } from '../engine/lint/setup.ts';
import { messageOf as issueText, tellingIssue } from './config/issues.ts';
import type { Config } from './config/model.ts';
import { bytesText } from './terminal.ts';

/** Kubernetes keeps none that is larger than a third of this. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;
const SHOWN_CHARS = 100;

const ruleSchema = z
  .object({ alert: z.string().optional(), record: z.string().optional(), expr: z.union([z.string(), z.number()]) })
  .refine(({ alert, record }) => (alert === undefined) !== (record === undefined), 'a rule has either alert or record');
const groupsSchema = z.array(z.object({ name: z.string(), rules: z.array(ruleSchema).nullish() })).nullable();

export async function readAlerts({ file, lineOf, alerts }: Config): Promise<AlertSetup> {
  const { rules: files = [], emitted = [] } = alerts ?? {};
  const rules: RuleSetup[] = [];
  const line = lineOf(['alerts', 'rules']);
  for (const [at, each] of files.entries()) {
    const path = isAbsolute(each) ? each : join(dirname(file), each);
    const text = await readRuleFile(path, `${file}:${line}: alerts.rules.${at}: ${path}`);
    rules.push(...rulesIn(text, path));
  }
  return { emitted, rules };
}

async function readRuleFile(path: string, what: string): Promise<string> {
  const wrong = (why: string, cause?: unknown): Failure => new Failure('settings-invalid', `${what} ${why}`, { cause });
  try {
    const found = await stat(path);
    if (!found.isFile()) throw wrong('is no file');
    if (found.size <= FILE_BYTES_MAX) return await readFile(path, 'utf8');
    throw wrong(`has ${bytesText(found.size)}, more than the ${bytesText(FILE_BYTES_MAX)} that rules may have`);
  } catch (cause) {
    throw cause instanceof Failure ? cause : wrong(`can't be read (${systemCode(cause)})`, cause);
  }
}

/** Of each document that has groups of rules: others may lie beside them in one file. */
export function rulesIn(text: string, file: string): readonly RuleSetup[] {
  const lines = new LineCounter();
  const found = documentsIn(text, file, lines).flatMap((document) => {
    const value = plainOf(document, file);
    const prefix = isRecord(value) && isRecord(value.spec) ? ['spec'] : [];
    const holder = isRecord(value) && isRecord(value.spec) ? value.spec : value;
    if (!isRecord(holder) || holder.groups === undefined) return [];
    return [{ document, groups: holder.groups, path: [...prefix, 'groups'] }];
  });
  if (found.length === 0) {
    throw new Failure('settings-invalid', `${file} is no rule file: it has no groups`, {
      hint: 'a rule file has groups with rules, at the top or, in a PrometheusRule, below spec',
    });
  }
  return found.flatMap(({ document, groups, path }) => {
    const lineAt = (below: readonly PropertyKey[]): number => lineIn(document, [...path, ...below], lines);
    const { data, error } = groupsSchema.safeParse(groups);
    const issue = error && tellingIssue(error.issues);
    if (issue) {
      const place = [...path, ...issue.path].join('.');
      throw new Failure('settings-invalid', `${file}:${lineAt(issue.path)}: ${place}: ${issueText(issue)}`);
    }
    return (data ?? []).flatMap(({ rules }, group) =>
      (rules ?? []).map(({ alert, record, expr }, at) => ({
        name: alert ?? record ?? '',
        isAlert: alert !== undefined,
        file,
        line: lineAt([group, 'rules', at, 'expr']),
        ...parseQuery(String(expr)),
      })),
    );
  });
}

function documentsIn(text: string, file: string, lineCounter: LineCounter): readonly Document.Parsed[] {
  const all = parseAllDocuments(text, { lineCounter, prettyErrors: false });
  const documents = Array.isArray(all) ? all : [];
  for (const { errors } of documents) {
    const [error] = errors;
    if (!error) continue;
    const { line, col } = lineCounter.linePos(error.pos[0]);
    const shown = (text.split('\n')[line - 1] ?? '').slice(0, SHOWN_CHARS);
    throw new Failure('settings-invalid', `${file}:${line}:${col}: ${error.message}\n  ${line} | ${shown}`);
  }
  return documents;
}

/** Aliases that grow without end are refused here. */
function plainOf(document: Document.Parsed, file: string): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    throw new Failure('settings-invalid', `${file}: ${messageOf(cause)}`, { cause });
  }
}

/** Of the innermost that is there. */
function lineIn(document: Document.Parsed, path: readonly PropertyKey[], lines: LineCounter): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
