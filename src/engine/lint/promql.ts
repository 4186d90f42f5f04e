// PromQL as lint needs it. Prometheus' own grammar reads it; what is left are metrics, and what is done with them.

import { parser } from '@prometheus-io/lezer-promql';
import { parseDuration } from '../../core/settings.ts';

/** Which metrics a selector is about. */
export type Metric =
  | { readonly names: readonly string[] }
  | { readonly prefix: string }
  /** Labels alone say it. */
  | 'any'
  /** Only a regular expression says it. */
  | 'unclear';

export type Query =
  | { readonly type: 'selector'; readonly metric: Metric }
  | { readonly type: 'call' | 'aggregate'; readonly name: string; readonly args: readonly Query[] }
  | {
      readonly type: 'binary';
      /** As the grammar calls it: 'Add', 'Gtr', 'Unless'. */
      readonly operator: string;
      readonly isBool: boolean;
      /** One side may be there alone. */
      readonly isFilled: boolean;
      readonly left: Query;
      readonly right: Query;
    }
  | { readonly type: 'negative'; readonly of: Query }
  /** A number; null where it is text, or a number that is not known here. */
  | { readonly type: 'literal'; readonly value: number | null };

export interface Parsed {
  /** Null where it is no PromQL, or deeper than anybody writes. */
  readonly query: Query | null;
  /** Why it is no PromQL. */
  readonly problem: string | null;
}

/** Of what is beyond 250 or so, the grammar says itself that it is wrong. */
const DEPTH_MAX = 200;
const SHOWN_CHARS = 30;

type Tree = ReturnType<typeof parser.parse>;
type Node = Tree['topNode'];

export function parseQuery(text: string): Parsed {
  const tree = parser.parse(text);
  const { problem, depth } = examined(tree, text);
  if (depth > DEPTH_MAX) return { query: null, problem: null };
  const [top] = problem === null ? partsOf(tree.topNode) : [];
  return { query: top ? queryOf(top, text) : null, problem };
}

function examined(tree: Tree, text: string): { readonly problem: string | null; readonly depth: number } {
  let problem: string | null = null;
  let [depth, deepest] = [0, 0];
  tree.iterate({
    enter(node) {
      depth += 1;
      deepest = Math.max(deepest, depth);
      if (!node.type.isError) return;
      const rest = text.slice(node.from).trim();
      problem ??= rest === '' ? 'something is missing at its end' : `wrong at ${shown(rest)}`;
    },
    leave() {
      depth -= 1;
    },
  });
  return { problem, depth: deepest };
}

function shown(text: string): string {
  const [line = ''] = text.split('\n');
  return JSON.stringify(line.length > SHOWN_CHARS ? `${line.slice(0, SHOWN_CHARS)}…` : line);
}

function queryOf(node: Node, text: string): Query {
  const parts = partsOf(node);
  const [first] = parts;
  if (node.name === 'VectorSelector') return { type: 'selector', metric: metricOf(parts, text) };
  if (node.name === 'NumberDurationLiteral') return { type: 'literal', value: numberOf(textOf(node, text)) };
  if (!first) return { type: 'literal', value: null };
  switch (node.name) {
    case 'FunctionCall':
      return { type: 'call', name: textOf(first, text), args: argumentsOf(parts, text) };
    case 'AggregateExpr':
      return { type: 'aggregate', name: textOf(first, text).toLowerCase(), args: argumentsOf(parts, text) };
    case 'BinaryExpr':
      return binaryOf(parts, text);
    case 'UnaryExpr': {
      const of = queryOf(parts.at(-1) ?? first, text);
      return textOf(first, text) === '-' ? { type: 'negative', of } : of;
    }
    default:
      return queryOf(first, text); // in parentheses, of a range, at another time
  }
}

function binaryOf(parts: readonly Node[], text: string): Query {
  const side = (part: Node | undefined): Query => (part ? queryOf(part, text) : { type: 'literal', value: null });
  const has = (name: string): boolean => parts.some((part) => part.name === name);
  return {
    type: 'binary',
    operator: parts[1]?.name ?? '',
    isBool: has('BoolModifier'),
    isFilled: has('FillModifier'),
    left: side(parts[0]),
    right: side(parts.at(-1)),
  };
}

function argumentsOf(parts: readonly Node[], text: string): readonly Query[] {
  const body = parts.find(({ name }) => name === 'FunctionCallBody');
  return body ? partsOf(body).map((part) => queryOf(part, text)) : [];
}

/** Its name stands before the braces, in quotes among the labels, or as the label __name__. */
function metricOf(parts: readonly Node[], text: string): Metric {
  const labels = parts.filter(({ name }) => name === 'LabelMatchers').flatMap(partsOf);
  const quoted = labels.find(({ name }) => name === 'QuotedLabelName');
  const bare = parts.find(({ name }) => name === 'Identifier');
  if (bare) return { names: [textOf(bare, text)] };
  if (quoted) return { names: [unquoted(textOf(quoted, text))] };
  for (const matcher of labels) {
    const [label, operator, value] = partsOf(matcher).map((part) => textOf(part, text));
    if (label === undefined || unquoted(label) !== '__name__' || value === undefined) continue;
    if (operator === '=') return { names: [unquoted(value)] };
    if (operator === '=~') return matching(unquoted(value));
  }
  return 'any';
}

/** The two forms that people write: some names, or how they begin. Others are run by nobody here. */
function matching(pattern: string): Metric {
  if (/^[\w:]+(?:\|[\w:]+)*$/.test(pattern)) return { names: pattern.split('|') };
  const [, prefix] = /^([\w:]+)\.[*+]$/.exec(pattern) ?? [];
  return prefix === undefined ? 'unclear' : { prefix };
}

/** Quotes are optional around what needs none. */
function unquoted(text: string): string {
  if (text.startsWith('`')) return text.slice(1, -1);
  return /^["']/.test(text) ? text.slice(1, -1).replaceAll(/\\(.)/g, '$1') : text;
}

/** '86400', '0x1F', '1_000', '-Inf', or '1h30m' as seconds. */
function numberOf(text: string): number | null {
  const [, sign, digits = ''] = /^([+-]?)\s*(.*)$/s.exec(text.toLowerCase().replaceAll('_', '')) ?? [];
  const ms = parseDuration(digits);
  const named = digits === 'inf' ? Number.POSITIVE_INFINITY : Number(digits);
  const value = ms === null ? named : ms / 1000;
  if (Number.isNaN(value) && digits !== 'nan') return null;
  return sign === '-' ? -value : value;
}

function textOf({ from, to }: Node, text: string): string {
  return text.slice(from, to);
}

function partsOf(node: Node): readonly Node[] {
  const parts: Node[] = [];
  for (let part = node.firstChild; part; part = part.nextSibling) if (part.name !== 'LineComment') parts.push(part);
  return parts;
}
