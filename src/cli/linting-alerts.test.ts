// Alerts: which of them wait for something that is never there, and what is said of rule files that are none.

import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { testContext } from '../core/testing.ts';
import { lint } from '../engine/lint/lint.ts';
import { parseConfig } from './config/load.ts';
import { setupOf } from './linting.ts';
import { alertsOf, NOW, RIGHT } from './linting-testing.ts';
import { filesStack } from './testing.ts';

/** With `here`, `job:lag` and what begins with node_ known to be emitted. */
async function found(...rules: readonly string[]) {
  const config = await parseConfig(testContext({ env: {} }), RIGHT, 'lifeboat.yaml');
  return lint(setupOf(config, NOW, new Map(), alertsOf(rules, ['here', 'job:lag', 'node_*'])), ['rto']);
}
const alert = (expr: string): string => `{ alert: A, expr: ${JSON.stringify(expr)} }`;
const record = (name: string, expr: string): string => `{ record: ${name}, expr: ${JSON.stringify(expr)} }`;

interface Case {
  readonly title: string;
  readonly rules: readonly string[];
  /** How the reason begins and ends: the metrics, and what comes of it. Null: nothing is wrong. */
  readonly told: readonly [metrics: string, consequence: 'never' | 'for ever' | 'as if'] | null;
}

const CASES: readonly Case[] = [
  { title: 'a metric that is named', rules: [alert('here > 1')], told: null },
  { title: 'one whose beginning is', rules: [alert('node_load1 > 1')], told: null },
  { title: 'one that only begins like another name', rules: [alert('here_too > 1')], told: ['here_too', 'never'] },
  {
    title: 'what Prometheus tells of its targets',
    rules: [alert('up == 0 or scrape_samples_scraped < 1')],
    told: null,
  },
  { title: 'what Prometheus tells of alerts', rules: [alert('ALERTS{alertname="B"} or ALERTS_FOR_STATE')], told: null },
  { title: 'one that is like the target metric', rules: [alert('up_since == 0')], told: ['up_since', 'never'] },
  { title: 'no metric at all', rules: [alert('vector(1)')], told: null },
  { title: 'all metrics of a job', rules: [alert('{job="x"} > 1')], told: null },
  { title: 'all metrics but one', rules: [alert('{__name__!="gone"} > 1')], told: null },
  { title: 'a label as name', rules: [alert('{__name__="gone"} > 1')], told: ['gone', 'never'] },
  { title: 'names of which one is there', rules: [alert('{__name__=~"gone|here"} > 1')], told: null },
  { title: 'names of which none is', rules: [alert('{__name__=~"gone|lost"} > 1')], told: ['gone and lost', 'never'] },
  { title: 'a beginning that something has', rules: [alert('{__name__=~"her.*"} > 1')], told: null },
  { title: 'a beginning of a beginning', rules: [alert('{__name__=~"no.+"} > 1')], told: null },
  { title: 'a beginning that goes on from one', rules: [alert('{__name__=~"node_cpu.*"} > 1')], told: null },
  { title: 'a beginning that nothing has', rules: [alert('{__name__=~"backup_.*"}')], told: ['backup_\\*', 'never'] },
  { title: 'one twice', rules: [alert('gone > 1 or gone < 0')], told: ['gone', 'never'] },
  { title: 'one of two that are added', rules: [alert('here + gone > 1')], told: ['gone', 'never'] },
  { title: 'one of two that do', rules: [alert('here or gone')], told: ['gone', 'as if'] },
  {
    title: 'something instead that is never wrong',
    rules: [alert('(gone or vector(0)) > 0')],
    told: ['gone', 'never'],
  },
  { title: 'something instead that is', rules: [alert('(gone or vector(0)) == 0')], told: ['gone', 'for ever'] },
  { title: 'what is recorded', rules: [record('a:b', 'here'), alert('a:b > 1')], told: null },
  { title: 'what is recorded of nothing', rules: [alert('a:b > 1'), record('a:b', 'gone')], told: ['gone', 'never'] },
  {
    title: 'that it is not recorded',
    rules: [record('a:b', 'gone'), alert('absent(a:b)')],
    told: ['gone', 'for ever'],
  },
  {
    title: 'what is recorded of the absence of nothing',
    rules: [record('a:b', 'absent(gone)'), alert('a:b == 1')],
    told: ['gone', 'for ever'],
  },
  {
    title: 'what is recorded twice, once of something',
    rules: [record('a:b', 'gone'), record('a:b', 'here'), alert('a:b > 1')],
    told: ['gone', 'as if'],
  },
  {
    title: 'what is recorded twice, once of an absence',
    rules: [record('a:b', 'here'), record('a:b', 'absent(gone)'), alert('a:b')],
    told: ['gone', 'for ever'],
  },
  {
    title: 'a number that is recorded is a series like others',
    rules: [record('a:b', 'time() - scalar(gone)'), alert('a:b > 5')],
    told: ['gone', 'as if'],
  },
  {
    title: 'what is recorded over several rules',
    rules: [record('a', 'b + here'), record('b', 'c'), record('c', 'gone'), alert('a > 1')],
    told: ['gone', 'never'],
  },
  { title: 'what is recorded of itself', rules: [record('a:b', 'a:b + 1'), alert('a:b > 1')], told: ['a:b', 'never'] },
  { title: 'a beginning that is recorded', rules: [record('a:b', 'here'), alert('{__name__=~"a:.*"}')], told: null },
  {
    title: 'a beginning that is recorded of nothing',
    rules: [record('a:b', 'gone'), alert('{__name__=~"a:.*"}')],
    told: ['gone', 'never'],
  },
  { title: 'what others emit, besides', rules: [record('job:lag', 'gone'), alert('job:lag > 1')], told: null },
  { title: 'recorded and not waited for', rules: [record('a:b', 'gone')], told: null },
];
const ENDS = { never: 'it can never fire', 'for ever': 'it fires for ever', 'as if': 'as if that part .*' };

describe('unknown-metric: an alert on', () => {
  for (const { title, rules, told } of CASES) {
    test(title, async () => {
      const { findings, unjudged } = await found(...rules);
      assert.deepEqual(unjudged, []);
      assert.equal(findings.length, told === null ? 0 : 1, JSON.stringify(findings));
      if (told === null) return;
      const [metrics, consequence] = told;
      assert.match(findings[0]?.why ?? '', new RegExp(`^alert A is about ${metrics}, .* ${ENDS[consequence]}$`));
    });
  }
});

test('a metric that is nearly one of those that are there is asked about', async () => {
  const { findings } = await found(alert('job:lagg > 1'));
  assert.match(findings[0]?.advice ?? '', /^job:lag instead of job:lagg\?; add job:lagg to alerts\.emitted if /);
  assert.match(findings[0]?.advice ?? '', /Lifeboat emits no metrics: .* lifeboat status/);
});

test('what only a regular expression says, or is too deep, is named as not judged; what is malformed is so once', async () => {
  const deep = `${'('.repeat(300)}gone${')'.repeat(300)}`;
  const { findings, unjudged } = await found(
    alert('{__name__=~"b.*_(total|sum)"} > 1').replace('A,', 'B,'),
    alert(deep),
    record('c', 'sum('),
    record('d', deep),
    alert('c + d > 1').replace('A,', 'E,'),
  );
  assert.deepEqual(
    unjudged.map(({ rule, at, why }) => `${rule} ${at.join('.')}: ${why}`),
    [
      'unknown-metric alerts.B: only a regular expression says what it is about',
      'unknown-metric alerts.A: its expression is nested too deep',
    ],
  );
  assert.deepEqual(
    findings.map(({ rule, place }) => `${rule} ${place?.file}:${place?.line}`),
    ['malformed-rule alerts.yml:6'],
  );
});

test('recording rules on recording rules are followed without end or repetition', async () => {
  const many = Array.from({ length: 60 }, (_, at) => record(`r${at}`, `r${at + 1} + r${at + 1}`));
  const { findings } = await found(...many, alert('r0 > 1'));
  assert.match(findings[0]?.why ?? '', /about r60,/);
  const more = Array.from({ length: 2000 }, (_, at) => record(`r${at}`, `r${at + 1}`));
  assert.deepEqual((await found(...more, alert('r0 > 1'))).findings, []);
});

const stack = await filesStack(
  `tiers: { all: { rto: 4h, rpo: 25h } }\nalerts: { rules: [prometheus/backup.yml], emitted: [here] }\n`,
);
after(() => stack[Symbol.dispose]());
const rules = join(stack.dir, 'prometheus', 'backup.yml');
mkdirSync(join(stack.dir, 'prometheus'));
const GROUPS = `groups:
  - name: backups
    interval: 1m
    rules:
      - record: backup:age
        expr: time() - gone
      - alert: TooOld
        for: 1h
        expr: |
          backup:age > 86400
`;
const MANIFEST = `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: { name: backups }
spec:
${GROUPS.replaceAll(/^/gm, '  ').trimEnd()}
`;

async function lintedFile(text: string | Buffer) {
  writeFileSync(rules, text);
  return await stack.run('lint', '--except', 'only-here,same-failure,unencrypted,not-captured,no-tier,unused-tier');
}

test('a rule file beside the configuration, and a manifest with it, are told with their own lines', async () => {
  for (const [text, line] of [
    [GROUPS, 9],
    [MANIFEST, 13],
    [`kind: ServiceMonitor\nspec: { jobLabel: x }\n---\n${MANIFEST}`, 16],
  ] as const) {
    const { exit, json, text: shown } = await lintedFile(text);
    assert.equal(exit, 3);
    assert.deepEqual(
      (json.findings as readonly Readonly<Record<string, unknown>>[]).map(({ rule, at, file, line, change }) => {
        return { rule, at, file, line, change };
      }),
      [{ rule: 'unknown-metric', at: 'alerts.rules', file: rules, line, change: [] }],
    );
    assert.ok(shown.startsWith(`${rules}:${line}: unknown-metric: alerts.rules: alert TooOld is about gone,`), shown);
  }
});

test('a rule file without rules has no findings', async () => {
  for (const text of ['groups: []', 'groups:', 'groups: [{ name: x }]', 'groups: [{ name: x, rules: }]']) {
    assert.equal((await lintedFile(text)).exit, 0, text);
  }
});

describe('a rule file that is none is a mistake in the configuration', () => {
  const wrong: readonly (readonly [title: string, text: string | Buffer, failure: RegExp])[] = [
    ['not YAML', 'groups:\n  - name: a: b\n', /backup\.yml:2:\d+: Nested mappings .*\n {2}2 \| {3}- name: a: b$/m],
    ['one long line', `groups: [${'['.repeat(200)}`, /backup\.yml:1:\d+: .*\n {2}1 \| groups: .{92}$/m],
    ['something else', 'scrape_configs: []\n', /backup\.yml is no rule file: it has no groups/],
    ['nothing', '', /is no rule file/],
    ['a list', '- 1', /is no rule file/],
    ['bytes', Buffer.from([0, 1, 2, 250, 251]), /is no rule file/],
    ['groups of something else', 'groups: { a: 1 }', /backup\.yml:1: groups: expected array/],
    [
      'a rule without expression',
      'groups:\n- name: x\n  rules:\n  - alert: A\n',
      /:4: groups\.0\.rules\.0\.expr: this key/,
    ],
    [
      'a rule of both kinds',
      'groups: [{ name: x, rules: [{ alert: A, record: b, expr: c }] }]',
      /either alert or record/,
    ],
    ['a rule of neither', 'groups: [{ name: x, rules: [{ expr: c }] }]', /either alert or record/],
    ['aliases without end', `a: &a [1]\n${bomb()}`, /backup\.yml: Excessive alias count/],
    [
      'a huge one',
      Buffer.alloc(5 * 1024 * 1024, '#'),
      /lifeboat\.yaml:\d+: alerts\.rules\.0: .*backup\.yml has 5\.0 MiB/,
    ],
  ];
  for (const [title, text, failure] of wrong) {
    test(title, async () => {
      const ran = await lintedFile(text);
      assert.equal(ran.exit, 10, ran.text);
      assert.match(ran.failure, failure);
    });
  }
});

test('a rule file that is not there, or is no file, is named with the line of the configuration; a backup needs none', async () => {
  rmSync(rules);
  const missing = await stack.run('lint');
  assert.equal(missing.exit, 10);
  assert.match(missing.failure, /lifeboat\.yaml:\d+: alerts\.rules\.0: .*backup\.yml can't be read \(ENOENT\)$/m);
  assert.equal((await stack.run('backup')).exit, 0);
  mkdirSync(rules);
  assert.match((await stack.run('lint')).failure, /backup\.yml is no file$/m);
});

/** Each line ten times the one before. */
function bomb(): string {
  const names = 'abcdefgh';
  const line = (name: string, at: number): string =>
    `${name}: &${name} [${Array(10).fill(`*${names[at]}`).join(', ')}]\n`;
  return `${[...names.slice(1)].map(line).join('')}groups: *h\n`;
}
