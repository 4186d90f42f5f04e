// Each rule on a configuration with its mistake, then with the change that it proposes: it is quiet.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parseDocument } from 'yaml';
import { testContext } from '../core/testing.ts';
import { type LintFinding, lint, RULE_WORDS } from '../engine/lint/lint.ts';
import { parseConfig } from './config/load.ts';
import { setupOf } from './linting.ts';
import { ALERTS_CASES } from './linting-alerts-testing.ts';
import { DRILLS_CASES } from './linting-drills-testing.ts';
import { OBJECTIVES_CASES } from './linting-objectives-testing.ts';
import { STORES_CASES } from './linting-stores-testing.ts';
import { FOLLOWING_CASES, type LintCase, linted, NOW, RIGHT, replaced } from './linting-testing.ts';

const CASES: readonly LintCase[] = [
  ...FOLLOWING_CASES,
  ...OBJECTIVES_CASES,
  ...STORES_CASES,
  ...DRILLS_CASES,
  ...ALERTS_CASES,
];

function changed(text: string, finding: LintFinding): string {
  const document = parseDocument(text);
  for (const { path, to } of finding.change) {
    if (to === undefined) document.deleteIn(path);
    else document.setIn(path, document.createNode(to));
  }
  return String(document);
}

test('nothing is found in a right configuration', async () => {
  assert.deepEqual(await linted(RIGHT), []);
});

describe('found, and gone with the change', () => {
  for (const { title, rule, replace, at, why, change, besides = [], measured, alerts } of CASES) {
    test(`${rule}: ${title}`, async () => {
      const text = replaced(replace);
      const findings = await linted(text, measured, alerts);
      const words = findings.map((each) => each.rule);
      assert.deepEqual(words.toSorted(), [rule, ...besides].sort(), JSON.stringify(findings, null, 1));
      const finding = findings.find((each) => each.rule === rule);
      assert.ok(finding);
      assert.equal(finding.at.join('.'), at);
      assert.match(finding.why, why);
      const changes = finding.change.map(({ path, to }) => `${path.join('.')}: ${JSON.stringify(to)}`);
      assert.deepEqual(changes, change);
      assert.ok(change.length > 0 || finding.advice, 'what to do is said');
      assert.doesNotMatch(JSON.stringify(findings), /canary/);
      if (change.length === 0) return;
      const left = await linted(changed(text, finding), measured, alerts);
      assert.deepEqual(
        left.filter((each) => each.rule === rule && each.at.join('.') === at),
        [],
      );
    });
  }
});

test('every rule has its case, and its section on the page with the mistake, the consequence and the change', () => {
  assert.deepEqual([...new Set(CASES.map(({ rule }) => rule))].sort(), [...RULE_WORDS].sort());
  const sections = readFileSync('docs/lint.md', 'utf8').split(/^### /m).slice(1);
  const documented = sections.map((section) => /^`([a-z-]+)`$/m.exec(section.split('\n')[0] ?? '')?.[1]);
  assert.deepEqual(documented.toSorted(), [...RULE_WORDS].sort());
  for (const section of sections) assert.match(section, /^Mistake: .+\nConsequence: .+\nChange: .+/ms, section);
});

test('rules that somebody accepts are left out', async () => {
  const text = RIGHT.replace('tiers:\n', 'tiers:\n  logs: { rpo: 7d }\n');
  const config = await parseConfig(testContext({ env: {} }), text, 'lifeboat.yaml');
  const { findings, unjudged } = lint(setupOf(config, NOW, new Map()), ['unused-tier', 'rto']);
  assert.deepEqual([findings, unjudged], [[], []]);
});

test('what can not be judged is told: where a reference leads to, and recoveries that nobody has measured', async () => {
  const text = RIGHT.replace('host: db.internal', `url: "\${env:DATABASE_URL}"`);
  const config = await parseConfig(testContext({ env: {} }), text, 'lifeboat.yaml');
  const recoverMs = 60_000;
  const measured = new Map(['shop-db', 'objects'].map((name) => [name, { captureMs: null, recoverMs }]));
  const told = lint(setupOf(config, NOW, measured)).unjudged.map(({ rule, at }) => `${rule} ${at.join('.')}`);
  assert.deepEqual(told, ['same-failure components.shop-db', 'rto components.search']);
});
