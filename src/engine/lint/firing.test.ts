// Queries of which `gone` and `lost` are never there, and all else is: what Prometheus would make of them.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MAYBE, NEVER, outcomeOf } from './firing.ts';
import { type Metric, parseQuery } from './promql.ts';

const of = (metric: Metric) =>
  typeof metric !== 'string' && 'names' in metric && metric.names.every((name) => ['gone', 'lost'].includes(name))
    ? NEVER
    : MAYBE;

const OUTCOMES: Readonly<Record<'never' | 'maybe' | 'always', readonly string[]>> = {
  never: [
    '(time() - gone) > 86400 * 2',
    'gone',
    'gone{a="b"}[5m] offset 1h',
    'rate(gone[5m] offset 1d) > 0 # of yesterday',
    '-gone',
    'gone @ end()',
    'here > gone',
    'gone < here',
    'gone == bool 1',
    'here and gone',
    'gone and here',
    'gone unless here',
    'gone or lost',
    'gone + fill(0) lost',
    'sum by (job) (gone) > 1',
    'count(gone) == 0',
    'topk(3, gone)',
    'histogram_quantile(0.9, sum by (le) (rate(gone[5m])))',
    'label_replace(gone, "a", "b", "c", "d")',
    'quantile_over_time(0.5, gone[1d:1h])',
    'info(gone)',
    'here > scalar(gone)',
    'time() > scalar(here) and gone',
    '(gone or vector(0)) > 0',
    '(gone or vector(5)) != 5',
    '(sum(gone) or vector(0)) >= 1 * 1',
    '(gone or vector(3)) * 2 <= 5',
    '(gone or vector(0)) % 2 == 1',
    '-(gone or vector(2)) > -2',
    '2 ^ (gone or vector(3)) != 8',
    '(gone or vector(3)) / 2 == 1',
    '(gone or vector(3)) - 2 == 2',
    '(gone or vector(60)) + 60 < 2m',
    'absent(vector(1))',
    'absent(absent(gone))',
    'absent_over_time(absent(gone)[5m:])',
    'count(gone or vector(0)) == 0',
    'group(vector(5)) > 1',
    '{__name__="gone", a="b"} > 1',
    '{__name__=~"gone|lost"} > 1',
    '{"gone"} > 1',
    "{'__name__'='gone'} > 1",
    '{__name__=`gone`} > 1',
    'vector(1) < vector(scalar(gone))  and gone',
  ],
  always: [
    'absent(gone)',
    'absent(gone{a="b"}) == 1',
    'absent(gone offset 1h) > 0',
    'absent_over_time(gone[1h])',
    'absent(rate(gone[5m]))',
    'absent(here > gone)',
    'here or absent(gone)',
    'absent(gone) or here',
    'absent(gone) unless lost',
    'gone or vector(1)',
    '(gone or vector(0)) == 0',
    '(gone or vector(0)) < 1',
    '(gone or vector(1)) <= 1',
    '(gone or vector(1)) >= 1',
    '0 == (gone or vector(0))',
    '(gone or vector(0)) > bool 5',
    'sum(gone or vector(0)) == 0',
    'count(absent(gone)) == 1',
    'label_replace(absent(gone), "a", "b", "c", "d")',
    'sum_over_time(absent(gone)[5m:1m])',
    '(gone or vector(0x10)) == 16',
    '(gone or vector(1_000)) == 1e3',
    '(gone or vector(Inf)) == +Inf',
    '(gone or vector(-1)) < 0',
    '(gone or vector(-1h)) == -3600',
    '(gone or vector(NaN)) != 1',
    'absent(gone) * 2',
    'absent(gone) * time()',
    'time()',
    '1 > bool 2',
    'hour()',
    'vector(scalar(gone)) != bool 1',
  ],
  maybe: [
    'here',
    'here or gone',
    'gone or here',
    'here unless gone',
    'here unless absent(gone)',
    'absent(gone) unless here',
    'absent(gone) and here',
    'absent(gone) and on() hour() > 8',
    'absent(here)',
    'absent(gone) * on() group_right() here',
    'vector(1) == absent(gone)',
    'here + fill(0) gone',
    'gone - fill_left(0) here',
    'here != scalar(gone)',
    'here > bool scalar(gone)',
    'here > scalar(here)',
    '{job="x"} > 1',
    '{__name__!="gone"} > 1',
    '{__name__=~"gone|here"}',
    '{__name__=~"go.*e"}',
    'info(here, {__name__="gone"})',
    'histogram_count(absent(gone))',
    'time() > 5 + (gone or vector(0))',
    'absent(gone) * time() > 5',
    'stddev(vector(1)) > 0',
    'sum(here) or vector(0) > 1',
    'atan2 > 1',
    'vector(1) atan2 2 > 1',
    'hour(here) > 8',
    'scalar(here) < bool vector(1) unless here',
  ],
};

for (const [has, queries] of Object.entries(OUTCOMES)) {
  describe(`of a metric that is not there, this has a result: ${has}`, () => {
    for (const text of queries) {
      test(text, () => {
        const { query, problem } = parseQuery(text);
        assert.equal(problem, null);
        assert.ok(query);
        assert.equal(outcomeOf(query, of).has, has);
      });
    }
  });
}

test('what is no PromQL is told with the place', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['sum(x) >', 'something is missing at its end'],
    ['', 'something is missing at its end'],
    ['x y > 1', 'wrong at "y > 1"'],
    ['unheard_of(x) > 1', 'wrong at "(x) > 1"'],
    [`x{a="b"} ${'y'.repeat(40)}\nz`, `wrong at "${'y'.repeat(30)}…"`],
  ];
  for (const [text, problem] of cases) assert.deepEqual(parseQuery(text), { query: null, problem }, text);
});

test('an expression deeper than anybody writes is not judged, and breaks nothing', () => {
  const many = (terms: number): string => Array.from({ length: terms }, (_, at) => `m${at}`).join(' or ');
  for (const text of [`${'('.repeat(5000)}gone${')'.repeat(5000)} > 1`, many(1000), many(300)]) {
    assert.deepEqual(parseQuery(text), { query: null, problem: null });
  }
  const { query } = parseQuery(many(150));
  assert.ok(query);
  assert.equal(outcomeOf(query, () => NEVER).has, 'never');
});
