// The conditions of rules, each where it decides: what is told of a configuration, and which changes are proposed.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { testContext } from '../core/testing.ts';
import { lint } from '../engine/lint/lint.ts';
import type { Setup } from '../engine/lint/setup.ts';
import { parseConfig } from './config/load.ts';
import { setupOf } from './linting.ts';
import { FOLLOWED, type LintCase, linted, NOW, replaced } from './linting-testing.ts';

interface Case extends Pick<LintCase, 'title' | 'replace' | 'measured'> {
  /** All of it, as 'rule: where'. */
  readonly told: readonly string[];
  /** All changes of all of them, as 'path: value'. */
  readonly change?: readonly string[];
  /** Of the first of them. */
  readonly advice?: RegExp;
}

const NO_PROMISE = ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h }'] as const;
const DRILL = '"0 4 * * 0", store: offsite }';
const promised = (rpo: string) => ['critical: { rto: 1h, rpo: 25h }', `critical: { rto: 1h, rpo: ${rpo} }`] as const;
const plan = (text: string) => ['plans:\n', `plans:\n  ${text}\n`] as const;
const lastPlan = (text: string) => ['drills:\n', `  ${text}\ndrills:\n`] as const;
const drill = (text: string) => [DRILL, `${DRILL}\n  ${text}`] as const;
const component = (text: string) => ['components:\n', `components:\n  ${text}\n`] as const;
const NIGHTLY =
  'plans:\n  nightly: { schedule: "0 2 * * *", ordering: references_first, ' +
  'keep: { local: { within: 30d }, offsite: { daily: 30 } } }\n';
const HOURLY = plan('often: { schedule: "30 * * * *", components: [shop-db], keep: { within: 30d } }');
const HERE_ONLY = [
  ['ordering: ref', 'to: [local], ordering: ref'],
  [', offsite: { daily: 30 }', ''],
] as const;

const minutes = (took: Readonly<Record<string, number>>): NonNullable<Setup['measured']> =>
  new Map(Object.entries(took).map(([name, each]) => [name, { captureMs: null, recoverMs: each * 60_000 }]));

const PROMISES: readonly Case[] = [
  {
    title: 'one promise of the two is enough',
    replace: [
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rpo: 25h }'],
      ['standard: { rto: 4h, rpo: 25h }', 'standard: { rto: 4h }'],
    ],
    told: [],
  },
  {
    title: 'what is followed keeps ten seconds',
    replace: [promised('10s'), ['databases: [shop], tier', FOLLOWED.replace(', markers: 30s', '')]],
    told: [],
  },
  {
    title: 'and no less, which no schedule does either',
    replace: [promised('9s'), ['databases: [shop], tier', FOLLOWED.replace(', markers: 30s', '')]],
    told: ['rpo: components.shop-db'],
    change: [],
  },
  {
    title: 'an hour is kept by backups, and not by following',
    replace: [promised('1h')],
    told: ['rpo: components.shop-db'],
    change: ['plans.nightly.schedule: "*/30 * * * *"'],
    advice: /^or promise what that can keep: tiers\.critical\.rpo: 25h$/,
  },
  {
    title: 'the plan with the fewest others is made denser, and of several the densest',
    replace: [
      promised('5h'),
      lastPlan('rare: { schedule: "0 6 * * 0", components: [shop-db], keep: { within: 90d } }'),
      lastPlan('often: { schedule: "0 */12 * * *", components: [shop-db], keep: { within: 30d } }'),
    ],
    told: ['rpo: components.shop-db'],
    change: ['plans.often.schedule: "0 */4 * * *"'],
  },
  {
    title: 'elsewhere, too, a point counts only when its capture has ended',
    replace: [
      ['host: db.internal', 'host: localhost'],
      promised('24h'),
      plan('often: { schedule: "0 */6 * * *", components: [shop-db], to: [local], keep: { within: 30d } }'),
    ],
    told: ['rpo-elsewhere: components.shop-db'],
  },
  {
    title: 'a recovery that takes as long as it may is in time',
    replace: [],
    measured: minutes({ 'shop-db': 60, search: 180 }),
    told: [],
  },
  {
    title: 'of what comes before, the slowest counts',
    replace: [['restore_after: [shop-db]', 'restore_after: [shop-db, objects]']],
    measured: minutes({ 'shop-db': 30, objects: 120, search: 150 }),
    told: ['rto: components.search'],
    change: ['tiers.standard.rto: "5h"'],
    advice: /^or let less come before it in restore_after$/,
  },
  {
    title: 'what was never measured is not judged by what comes before it',
    replace: [],
    measured: minutes({ 'shop-db': 300 }),
    told: ['rto: components.shop-db'],
    change: ['tiers.critical.rto: "5h"'],
    advice: /^or restore less of it first$/,
  },
  {
    title: 'markers of what may lose anything are never too coarse',
    replace: [
      NO_PROMISE,
      ['databases: [shop], tier', FOLLOWED.replace('30s', '1d')],
      drill('moment: { schedule: "0 5 * * 0", store: offsite, at: 5m ago, components: [shop-db] }'),
    ],
    told: [],
  },
  {
    title: 'markers of half of what may be lost are fine enough',
    replace: [
      promised('2h'),
      ['databases: [shop], tier', FOLLOWED.replace('30s', '2h')],
      drill('moment: { schedule: "0 5 * * 0", store: offsite, at: 5m ago, components: [shop-db] }'),
    ],
    told: ['markers-coarse: components.shop-db.markers'],
    change: ['components.shop-db.markers: "1h"'],
  },
];

const PLANS: readonly Case[] = [
  {
    title: 'who promises nothing is asked for the tier, or for what it promises',
    replace: [['tier: standard, restore_after', 'restore_after']],
    told: ['no-tier: components.search'],
    advice: /: components\.search\.tier: NAME$/,
  },
  {
    title: 'a tier that promises nothing is asked for it',
    replace: [['critical: { rto: 1h, rpo: 25h }', 'critical: {}']],
    told: ['no-tier: tiers.critical'],
    advice: /: tiers\.critical: \{ rto: 4h, rpo: 1d \}$/,
  },
  {
    title: 'what no plan has goes into the largest, and all of it at once',
    replace: [
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects], ordering'],
      plan('small: { schedule: "0 3 * * *", components: [shop-db], keep: { within: 30d } }'),
      component('docs: { kind: files, paths: [/srv/docs], tier: standard }'),
      [DRILL, '"0 4 * * 0", store: offsite, components: [shop-db, objects] }'],
    ],
    told: ['not-captured: components.docs', 'not-captured: components.search'],
    change: Array(2).fill('plans.nightly.components: ["shop-db","objects","docs","search"]'),
  },
  {
    title: 'without any plan there is one for all',
    replace: [[NIGHTLY, '']],
    told: ['not-captured: components.shop-db', 'not-captured: components.objects', 'not-captured: components.search'],
    change: Array(3).fill('plans.nightly: {"schedule":"0 2 * * *","components":["shop-db","objects","search"]}'),
  },
  {
    title: 'a rule for a store that gets nothing is no rule that keeps one point',
    replace: [
      ['ordering: ref', 'to: [offsite], ordering: ref'],
      ['local: { within: 30d }', 'local: { last: 1 }'],
    ],
    told: ['keep-mismatch: plans.nightly.keep.local'],
  },
  {
    title: 'one point a day is one more each day, where two are asked for',
    replace: [['local: { within: 30d }', 'local: { daily: 1 }']],
    told: ['keeps-one: plans.nightly.keep.local'],
    change: ['plans.nightly.keep.local.daily: 2'],
  },
  {
    title: 'the newest of fourteen days that have one are fourteen weeks where points come each week',
    replace: [
      ['"0 2 * * *", ordering', '"0 2 * * 0", ordering'],
      ['local: { within: 30d }, offsite: { daily: 30 }', 'local: { daily: 14 }, offsite: { daily: 14 }'],
      ['"0 4 * * 0"', '"0 4 1 * *"'],
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 30d }'],
      ['standard: { rto: 4h, rpo: 25h }', 'standard: { rto: 4h, rpo: 30d }'],
    ],
    told: [],
  },
  {
    title: 'the drill that is rare counts, and not those of other components',
    replace: [
      [
        DRILL,
        '"0 4 * * 0", store: offsite, components: [shop-db, search] }\n  objects: { schedule: "0 4 1 1,4,7,10 *", store: offsite, components: [objects] }',
      ],
    ],
    told: ['keep-beyond-drills: drills.objects.schedule'],
  },
  {
    title: 'a drill comes as often as what is kept for the shortest time needs',
    replace: [
      ['"0 4 * * 0"', '"0 4 1 1,4,7,10 *"'],
      plan('longer: { schedule: "0 3 * * *", components: [shop-db], keep: { within: 60d } }'),
    ],
    told: ['keep-beyond-drills: drills.weekly.schedule'],
    change: ['drills.weekly.schedule: "0 4 * * 0"'],
  },
  {
    title: 'where there is no other store, the place of one is told',
    replace: [
      [
        `  offsite: { format: restic, bucket: s3://shop-backup/lifeboat, password: "\${file:/run/secrets/lifeboat}" }\n`,
        '',
      ],
      [', offsite: { daily: 30 }', ''],
      [', store: offsite', ''],
    ],
    told: ['shop-db', 'objects', 'search'].map((name) => `only-here: components.${name}`),
    change: [],
  },
  {
    title: 'a bucket with its settings is the bucket that the store is in',
    replace: [
      ['endpoint: "http://minio.internal:9000", buckets: [invoices]', 'buckets: [{ name: shop-backup }]'],
      ['ordering: ref', 'to: [offsite], ordering: ref'],
      ['local: { within: 30d }, ', ''],
    ],
    told: ['same-failure: components.objects'],
  },
  ...[
    ['here and elsewhere', 'localhost:9092,k2.internal:9092', 'only-here'],
    ['here and where only a reference knows', `localhost:9092,\${env:K2}`, 'only-here'],
    ['here alone', 'localhost:9092', 'same-failure'],
  ].map(([title, brokers, rule]) => ({
    title: `brokers that lie ${title}`,
    replace: [
      component(`events: { kind: kafka, brokers: "${brokers}", tier: standard }`),
      plan('events: { schedule: "0 3 * * *", components: [events], to: [local], keep: { within: 30d } }'),
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects, search], ordering'],
      [
        DRILL,
        '"0 4 * * 0", store: offsite, components: [shop-db, objects, search] }\n  events: { schedule: "0 5 * * 0", components: [events] }',
      ],
    ] as const,
    told: [`${rule}: components.events`],
  })),
];

const DRILLS: readonly Case[] = [
  {
    title: 'what several plans have is missed once, by the largest',
    replace: [HOURLY, [`drills:\n  weekly: { schedule: ${DRILL}\n`, '']],
    told: ['no-drill: plans.nightly'],
  },
  {
    title: 'a drill of one old point is none that only lacks a schedule',
    replace: [[`weekly: { schedule: ${DRILL}`, 'old: { point: 2026-06-09-020000 }']],
    told: ['no-drill: plans.nightly'],
    change: ['drills.nightly: {"schedule":"0 3 * * 0","timezone":"UTC","components":["shop-db","objects","search"]}'],
  },
  {
    title: 'nor is one of a part of it',
    replace: [['schedule: "0 4 * * 0", ', 'components: [objects], ']],
    told: ['no-drill: plans.nightly'],
    change: ['drills.nightly: {"schedule":"0 3 * * 0","timezone":"UTC","components":["shop-db","objects","search"]}'],
  },
  {
    title: 'a drill of everything from a store that gets nothing',
    replace: HERE_ONLY,
    told: [
      ...['shop-db', 'objects', 'search'].map((name) => `only-here: components.${name}`),
      'drill-without-points: drills.weekly',
    ],
  },
  {
    title: 'a drill of everything from a store that one plan of several leaves out',
    replace: [
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects], ordering'],
      plan('search: { schedule: "0 3 * * *", components: [search], to: [local], keep: { within: 30d } }'),
    ],
    told: ['only-here: components.search', 'drill-without-points: drills.weekly'],
    change: ['plans.search.to: ["local","offsite"]', 'drills.weekly.components: ["shop-db","objects"]'],
  },
  {
    title: 'a point that is as old as it may be is not too old',
    replace: [['"0 4 * * 0"', '"0 1 * * 0"'], promised('23h'), HOURLY],
    told: [],
  },
  {
    title: 'a promise that no plan keeps is not missed for the hour of a drill',
    replace: [['"0 4 * * 0"', '"0 1 * * 0"'], promised('1h'), HOURLY],
    told: ['rpo: components.shop-db'],
  },
  {
    title: 'a drill comes as soon after the slot as the shortest of the promises needs',
    replace: [
      ['"0 4 * * 0"', '"0 1 * * 0"'],
      promised('2h'),
      ['standard: {', 'soon: { rto: 4h, rpo: 1h }\n  standard: {'],
      ['buckets: [invoices], tier: standard', 'buckets: [invoices], tier: soon'],
      plan(
        'often: { schedule: "*/30 * * * *", components: [shop-db, objects], ordering: references_first, keep: { within: 30d } }',
      ),
    ],
    told: ['drill-age: drills.weekly.schedule'],
    change: ['drills.weekly.schedule: "30 2 * * 0"'],
  },
  {
    title: 'a drill restores what one plan has all of, wherever the parts of it lie besides',
    replace: [
      [', store: offsite', ''],
      ['ordering: ref', 'to: [offsite], ordering: ref'],
      ['local: { within: 30d }, ', ''],
      plan('often: { schedule: "30 * * * *", components: [shop-db], to: [local], keep: { within: 30d } }'),
    ],
    told: [],
  },
  {
    title: 'a drill restores from the first store that any of its plans writes to',
    replace: [
      [', store: offsite', ''],
      ['stores:\n', `stores:\n  first: { format: restic, bucket: s3://first/x, password: "\${env:P}" }\n`],
      [
        'ordering: references_first, keep: { local: { within: 30d }, offsite: { daily: 30 } }',
        'ordering: references_first, to: [first], keep: { daily: 30 }',
      ],
      plan('second: { schedule: "0 3 * * *", ordering: references_first, to: [local], keep: { daily: 30 } }'),
    ],
    told: [],
  },
  {
    title: 'a list with one field that cron does not know',
    replace: [['"0 4 * * 0"', '"0 4 1,L * *"']],
    told: ['not-cron: drills.weekly.schedule'],
  },
  {
    title: 'a word for a schedule, of which nothing plain can be made',
    replace: [['"0 4 * * 0"', '"@weekly"']],
    told: ['not-cron: drills.weekly.schedule'],
    change: [],
  },
];

const more = (...references: readonly string[]) =>
  ['invoices } }\nplans:\n', `invoices } }\n${references.map((each) => `  - ${each}\n`).join('')}plans:\n`] as const;
const refers = (from: string, to: string): string =>
  `{ name: "${from} to ${to}", from: { component: ${from}, sql: select 1 }, to: { component: ${to}, in: x } }`;
const SIDE_BY_SIDE = ['ordering: references_first, ', ''] as const;

const REFERENCES: readonly Case[] = [
  {
    title: 'what points to one another has no order, whatever else there is',
    replace: [SIDE_BY_SIDE, more(refers('objects', 'shop-db'), refers('shop-db', 'search'))],
    told: [],
  },
  {
    title: 'what points on and on has one',
    replace: [SIDE_BY_SIDE, more(refers('objects', 'search'))],
    told: ['references-unordered: plans.nightly'],
  },
];

for (const [about, cases] of Object.entries({ PROMISES, PLANS, DRILLS, REFERENCES })) {
  describe(about.toLowerCase(), () => {
    for (const { title, replace, measured, told, change, advice } of cases) {
      test(title, async () => {
        const findings = await linted(replaced(replace), measured);
        assert.deepEqual(
          findings.map(({ rule, at }) => `${rule}: ${at.join('.')}`),
          told,
        );
        if (advice) assert.match(findings[0]?.advice ?? '', advice);
        const changes = findings.flatMap((each) => each.change);
        if (change)
          assert.deepEqual(
            changes.map(({ path, to }) => `${path.join('.')}: ${JSON.stringify(to)}`),
            change,
          );
      });
    }
  });
}

test('where a component is stays unknown as long as a reference says a part of it, but for snapshots, which lie elsewhere', async () => {
  const text = replaced([
    component(`events: { kind: kafka, brokers: "k1.internal:9092,\${env:K2}", tier: standard }`),
    [
      `url: "http://u:\${env:P}@search.internal:9200", tier: standard`,
      `url: "\${env:SEARCH}", method: snapshot, repository: { type: fs, settings: {} }, tier: standard`,
    ],
  ]);
  const config = await parseConfig(testContext({ env: {} }), text, 'lifeboat.yaml');
  const { unjudged } = lint(setupOf(config, NOW, new Map()), ['rto']);
  assert.deepEqual(
    unjudged.map(({ rule, at }) => `${rule} ${at.join('.')}`),
    ['same-failure components.events'],
  );
});
