// What looks like a mistake to one rule and is none, or is told by another: each rule has conditions, and each of them
// has its case.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FOLLOWED, type LintCase, linted, replaced } from './linting-testing.ts';

interface Told extends Pick<LintCase, 'title' | 'replace'> {
  /** All of it, as 'rule: where'. */
  readonly told: readonly string[];
}
const SEARCH_APART = [
  ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects], ordering'],
  ['plans:\n', 'plans:\n  search: { schedule: "0 3 * * *", components: [search], keep: { within: 30d } }\n'],
] as const;
const WEEKLY_APART = ['store: offsite }', 'store: offsite, components: [shop-db, objects] }'] as const;
const SEARCHED = '\n  search: { schedule: "0 5 * * 0", store: offsite, components: [search] }';
const more = (drill: string): readonly [string, string] => [WEEKLY_APART[1], `${WEEKLY_APART[1]}${SEARCHED}${drill}`];
const OFTEN = 'plans:\n  often: { schedule: "30 * * * *", components: [shop-db], keep: { within: 30d } }\n';

const SNAPSHOT = 'tier: standard, method: snapshot, repository: { type: fs, settings: {} }';

const TOLD: readonly Told[] = [
  ...['at: 5m ago', 'until: latest', 'until: cut=latest'].map((moment) => ({
    title: `a drill of a moment is about that, however old the point is that its log is replayed on: ${moment}`,
    replace: [
      ['"0 4 * * 0",', `"0 1 * * 0", ${moment},`],
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 2h }'],
      ['plans:\n', OFTEN],
    ] as const,
    told: [],
  })),
  {
    title: 'a drill of everything is no second mistake of what no plan has',
    replace: [['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects], ordering']],
    told: ['not-captured: components.search'],
  },
  {
    title: 'a drill of one old point is not about what later points have together',
    replace: [
      ...SEARCH_APART,
      WEEKLY_APART,
      more('\n  old: { point: 2026-06-09-020000, components: [shop-db, search] }'),
    ],
    told: [],
  },
  {
    title: 'a slot of a plan that has nothing of it is none for a point',
    replace: [
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects], ordering'],
      ['plans:\n', 'plans:\n  search: { schedule: "0 3 * * *", components: [search], keep: { within: 30d } }\n'],
      ['components:\n', 'components:\n  docs: { kind: files, paths: [/srv/docs], tier: standard }\n'],
      ['plans:\n', 'plans:\n  docs: { schedule: "0 5 * * *", components: [docs], keep: { within: 30d } }\n'],
      WEEKLY_APART,
      more(
        '\n  docs: { schedule: "0 6 * * 0", store: offsite, components: [docs] }' +
          '\n  old: { point: 2026-06-09-050000, components: [shop-db, search] }',
      ),
    ],
    told: ['off-grid: drills.old.point'],
  },
  {
    title: 'nor is a slot of a plan that has a part of it, where another has all',
    replace: [
      ['plans:\n', OFTEN],
      ['store: offsite }', 'store: offsite }\n  old: { point: 2026-05-22-103000, components: [shop-db, objects] }'],
    ],
    told: ['off-grid: drills.old.point'],
  },
  {
    title: 'to restore one old point again and again is no rehearsal of the new ones',
    replace: [
      WEEKLY_APART,
      more(''),
      ['"0 5 * * 0", store: offsite, ', '"0 5 * * 0", store: offsite, point: 2026-06-09-020000, '],
    ],
    told: ['no-drill: plans.nightly'],
  },
  {
    title: 'snapshots lie in a repository of their own, whatever store their points are in',
    replace: [
      ['tier: standard, restore', `${SNAPSHOT}, restore`],
      ['ordering: ref', 'to: [local], ordering: ref'],
      [', offsite: { daily: 30 }', ''],
      [', store: offsite', ''],
    ],
    told: ['only-here: components.shop-db', 'only-here: components.objects', 'snapshot-only: components.search.method'],
  },
  {
    title: 'a store in the bucket that is protected is lost with it, at Amazon too',
    replace: [
      ['endpoint: "http://minio.internal:9000", buckets: [invoices]', 'buckets: [shop-backup]'],
      ['ordering: ref', 'to: [offsite], ordering: ref'],
      ['local: { within: 30d }, ', ''],
    ],
    told: ['same-failure: components.objects'],
  },
  {
    title: 'files, and a server behind a socket, lie where a store in a directory does',
    replace: [
      ['host: db.internal', 'host: /run/postgresql'],
      ['components:\n', 'components:\n  docs: { kind: files, paths: [/srv/docs], tier: standard }\n'],
      ['ordering: ref', 'to: [local], ordering: ref'],
      [', offsite: { daily: 30 }', ''],
      [', store: offsite', ''],
    ],
    told: [
      'same-failure: components.docs',
      'same-failure: components.shop-db',
      'only-here: components.objects',
      'only-here: components.search',
    ],
  },
  ...(['export', 'snapshot'] as const).map((method) => ({
    title: `of one cluster it is told once, and not where its documents are exported: beside ${method}`,
    replace: [
      ['tier: standard, restore', `${SNAPSHOT}, restore`],
      [
        'components:\n',
        `components:\n  also: { kind: elasticsearch, url: "http://u:\${env:P}@search.internal:9200", ${
          method === 'export' ? 'tier: standard' : SNAPSHOT
        } }\n`,
      ],
    ] as const,
    told: method === 'export' ? [] : ['snapshot-only: components.also.method'],
  })),
  {
    title: 'another bucket at Amazon is another place',
    replace: [
      ['endpoint: "http://minio.internal:9000", buckets: [invoices]', 'buckets: [invoices]'],
      ['ordering: ref', 'to: [offsite], ordering: ref'],
      ['local: { within: 30d }, ', ''],
    ],
    told: [],
  },
  {
    title: 'what lies elsewhere alone is drilled from there, whatever else lies here',
    replace: [
      ...SEARCH_APART,
      ['components: [search], keep', 'components: [search], to: [offsite], keep'],
      WEEKLY_APART,
      more(''),
      ['"0 5 * * 0", store: offsite, ', '"0 5 * * 0", '],
    ],
    told: [],
  },
  {
    title: 'a replay of another component reads no markers of this one',
    replace: [
      ['databases: [shop], tier', FOLLOWED],
      [
        'store: offsite }',
        'store: offsite }\n  moment: { schedule: "0 5 * * 0", store: offsite, at: 5m ago, components: [objects] }',
      ],
    ],
    told: ['markers-unread: components.shop-db.markers'],
  },
  {
    title: 'a replay to any place reads markers',
    replace: [
      ['databases: [shop], tier', FOLLOWED],
      [
        'store: offsite }',
        'store: offsite }\n  log: { schedule: "0 5 * * 0", store: offsite, until: cut=latest, components: [shop-db] }',
      ],
    ],
    told: [],
  },
  {
    title: 'what is followed is in the store elsewhere within seconds, whatever the plans are',
    replace: [
      ['host: db.internal', 'host: localhost'],
      ['databases: [shop], tier', 'databases: [shop], capture: [physical], follow: true, tier'],
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 7h }'],
      ['plans:\n', 'plans:\n  often: { schedule: "0 */6 * * *", components: [shop-db], to: [local] }\n'],
    ],
    told: [],
  },
];

describe('not told, or told by another rule', () => {
  for (const { title, replace, told } of TOLD) {
    test(title, async () => {
      const findings = await linted(replaced(replace));
      assert.deepEqual(
        findings.map(({ rule, at }) => `${rule}: ${at.join('.')}`),
        told,
      );
    });
  }
});
