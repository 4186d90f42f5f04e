// What becomes of a query when some of its metrics are never there. PromQL compares nothing with nothing: the result is
// empty, and an alert on it is quiet. Only what asks for absence, or has something instead, goes on.

import type { Metric, Query } from './promql.ts';

export interface Outcome {
  /** Whether it has a series: never, always, or as the metrics have it that are there. */
  readonly has: 'never' | 'maybe' | 'always';
  /** Of the only series that it has; null when that is not known. */
  readonly value: number | null;
  /** A number of its own, that needs no series. */
  readonly isScalar: boolean;
}

export const NEVER: Outcome = { has: 'never', value: null, isScalar: false };
export const MAYBE: Outcome = { has: 'maybe', value: null, isScalar: false };
const scalar = (value: number | null): Outcome => ({ has: 'always', value, isScalar: true });
const vector = (value: number | null): Outcome => ({ has: 'always', value, isScalar: false });

/** Functions whose number comes from no series. */
const CLOCKS: readonly string[] = ['time', 'pi'];
const ABSENCES: readonly string[] = ['absent', 'absent_over_time'];
/** Aggregations that leave a single number as it is. */
const KEEPING: readonly string[] = ['sum', 'min', 'max', 'avg', 'topk', 'bottomk'];
const COUNTING: readonly string[] = ['count', 'group'];

const COMPARED: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  Eql: (a, b) => a === b,
  Neq: (a, b) => a !== b,
  Gtr: (a, b) => a > b,
  Gte: (a, b) => a >= b,
  Lss: (a, b) => a < b,
  Lte: (a, b) => a <= b,
};
const COMPUTED: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  Mod: (a, b) => a % b,
  Pow: (a, b) => a ** b,
};

/** `of` says what a metric is. */
export function outcomeOf(query: Query, of: (metric: Metric) => Outcome): Outcome {
  switch (query.type) {
    case 'selector':
      return of(query.metric);
    case 'literal':
      return scalar(query.value);
    case 'negative': {
      const whole = outcomeOf(query.of, of);
      return { ...whole, value: whole.value === null ? null : -whole.value };
    }
    case 'call':
      return called(
        query.name,
        query.args.map((each) => outcomeOf(each, of)),
      );
    case 'aggregate':
      return aggregated(
        query.name,
        query.args.map((each) => outcomeOf(each, of)),
      );
    case 'binary': {
      const [left, right] = [outcomeOf(query.left, of), outcomeOf(query.right, of)];
      return query.isFilled ? filled(left, right) : combined(query, left, right);
    }
  }
}

function called(name: string, args: readonly Outcome[]): Outcome {
  const [first = scalar(null)] = args;
  if (CLOCKS.includes(name)) return scalar(null);
  if (name === 'vector') return vector(first.value);
  if (name === 'scalar') return scalar(first.has === 'never' ? Number.NaN : first.value);
  if (name === 'info') return { ...first, value: null };
  if (ABSENCES.includes(name)) {
    if (first.has === 'maybe') return MAYBE;
    return first.has === 'never' ? vector(1) : NEVER;
  }
  const whole = worst(args);
  // Of a constant there is no histogram.
  return name.startsWith('histogram_') && whole.has === 'always' ? MAYBE : { ...whole, value: null };
}

function aggregated(name: string, args: readonly Outcome[]): Outcome {
  const whole = worst(args);
  if (KEEPING.includes(name) || whole.value === null) return whole;
  return { ...whole, value: COUNTING.includes(name) ? 1 : null };
}

/** Of those that are series: what one of them lacks, the whole does. None at all: the time is meant. */
function worst(args: readonly Outcome[]): Outcome {
  const series = args.filter(({ isScalar }) => !isScalar);
  const missing = series.find(({ has }) => has === 'never') ?? series.find(({ has }) => has === 'maybe');
  return missing ?? series[0] ?? vector(null);
}

/** A side that is missing has a number put in its place, for each series of the other. */
function filled(left: Outcome, right: Outcome): Outcome {
  return left.has === 'never' && right.has === 'never' ? NEVER : MAYBE;
}

type Binary = Extract<Query, { type: 'binary' }>;

function combined({ operator, isBool }: Binary, left: Outcome, right: Outcome): Outcome {
  const [hasLeft, hasRight] = [left, right].map(({ has }) => has !== 'never');
  if (operator === 'Or') {
    if (!hasLeft || !hasRight) return hasLeft ? left : right;
    return left.has === 'always' || right.has === 'always' ? vector(null) : MAYBE;
  }
  if (operator === 'Unless' && hasLeft && !hasRight) return left;
  if (!hasLeft || !hasRight) return NEVER;
  const isCompared = Object.hasOwn(COMPARED, operator);
  if (isCompared && !isBool && operator !== 'Neq' && [left, right].some(isNotANumber)) return NEVER;
  const isEither = left.has === 'maybe' || right.has === 'maybe';
  // Two series meet only where their labels do, which nobody knows here.
  if (isEither || (!left.isScalar && !right.isScalar)) return MAYBE;
  return isCompared ? compared(operator, isBool, left, right) : computed(operator, left, right);
}

function isNotANumber({ isScalar, value }: Outcome): boolean {
  return isScalar && value !== null && Number.isNaN(value);
}

/** Without bool what does not hold is left out, and the rest keeps its value. */
function compared(operator: string, isBool: boolean, left: Outcome, right: Outcome): Outcome {
  const both = left.isScalar && right.isScalar;
  const holds =
    left.value === null || right.value === null ? null : (COMPARED[operator]?.(left.value, right.value) ?? null);
  if (isBool || both) return { has: 'always', value: holds === null ? null : Number(holds), isScalar: both };
  if (holds === null) return MAYBE;
  return holds ? vector(left.isScalar ? right.value : left.value) : NEVER;
}

function computed(operator: string, left: Outcome, right: Outcome): Outcome {
  const known = left.value !== null && right.value !== null;
  const value = known ? (COMPUTED[operator]?.(left.value, right.value) ?? null) : null;
  return { has: 'always', value, isScalar: left.isScalar && right.isScalar };
}
