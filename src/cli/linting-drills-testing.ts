// Mistakes in drills and in how schedules are written: for the tests of lint.

import type { LintCase } from './linting-testing.ts';

export const DRILLS_CASES: readonly LintCase[] = [
  {
    title: 'points that nobody restores',
    rule: 'no-drill',
    replace: [['schedule: "0 4 * * 0", ', 'schedule: "0 4 * * 0", components: [search, objects], ']],
    at: 'plans.nightly',
    why: /no drill with a schedule restores shop-db/,
    change: ['drills.nightly: {"schedule":"0 3 * * 0","timezone":"UTC","components":["shop-db"]}'],
  },
  {
    title: 'a drill that nothing starts',
    rule: 'no-drill',
    replace: [['schedule: "0 4 * * 0", ', '']],
    at: 'plans.nightly',
    why: /restores shop-db, objects and search/,
    change: ['drills.weekly.schedule: "0 3 * * 0"'],
  },
  {
    title: 'a drill from a store that never gets its points',
    rule: 'drill-without-points',
    replace: [
      ['store: offsite }', 'store: offsite }\n  objects: { components: [objects, shop-db], store: third }'],
      ['stores:\n', `stores:\n  third: { format: restic, bucket: s3://third, password: "\${env:P}" }\n`],
      ['ordering: ref', 'to: [local, offsite], ordering: ref'],
    ],
    at: 'drills.objects',
    why: /no plan puts objects and shop-db into store third/,
    change: ['drills.objects: undefined'],
  },
  {
    title: 'a drill of what is never in one point',
    rule: 'drill-apart',
    replace: [
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects], ordering'],
      ['plans:\n', 'plans:\n  search: { schedule: "0 3 * * *", components: [search], keep: { within: 30d } }\n'],
    ],
    at: 'drills.weekly',
    why: /it restores shop-db and objects, and is unknown because of search/,
    change: [
      'drills.weekly.components: ["shop-db","objects"]',
      'drills.search: {"schedule":"0 4 * * 0","timezone":"UTC","store":"offsite","components":["search"]}',
    ],
  },
  {
    title: 'a drill an hour before the point that it should be about',
    rule: 'drill-age',
    replace: [
      ['"0 4 * * 0"', '"0 1 * * 0"'],
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 2h }'],
      ['plans:\n', 'plans:\n  often: { schedule: "30 * * * *", components: [shop-db], keep: { within: 30d } }\n'],
    ],
    at: 'drills.weekly.schedule',
    why: /its point is 23h old by then, the last one with all of it \(of nightly\), .* the RPO of shop-db as missed/,
    change: ['drills.weekly.schedule: "0 3 * * 0"'],
  },
  {
    title: 'drills that never touch the store which is left in the disaster',
    rule: 'drill-only-here',
    replace: [[', store: offsite', '']],
    at: 'drills.weekly',
    why: /drills restore shop-db, objects and search from stores of this machine alone: whether offsite/,
    change: ['drills.weekly.store: "offsite"'],
  },
  {
    title: 'a point between two slots',
    rule: 'off-grid',
    replace: [['store: offsite }', 'store: offsite }\n  deleted: { point: 2026-05-22-100000, components: [shop-db] }']],
    at: 'drills.deleted.point',
    why: /2026-05-22-100000 is no slot of nightly \("0 2 \* \* \*" UTC\)/,
    change: ['drills.deleted.point: "2026-05-22-020000"'],
  },
  {
    title: 'drills that are rarer than points grow old',
    rule: 'keep-beyond-drills',
    replace: [['"0 4 * * 0"', '"0 4 1 1,4,7,10 *"']],
    at: 'drills.weekly.schedule',
    why: /kept of shop-db for 30d, of objects for 30d and of search for 30d, but drills come 92d apart/,
    change: ['drills.weekly.schedule: "0 4 * * 0"'],
  },
  {
    title: 'a first Monday that is every day of a week, and every Monday',
    rule: 'either-day',
    replace: [['"0 4 * * 0"', '"0 4 1-7 * 1"']],
    at: 'drills.weekly.schedule',
    why: /it comes on days 1-7 and on each Monday/,
    change: ['drills.weekly.schedule: "0 4 1 * *"'],
  },
  {
    title: 'a first Monday that neither cron nor systemd knows',
    rule: 'not-cron',
    replace: [['"0 4 * * 0"', '"0 4 * * 1#1"']],
    at: 'drills.weekly.schedule',
    why: /do not know 1#1: schedule print fails/,
    change: ['drills.weekly.schedule: "0 4 1 * *"'],
    besides: ['keep-beyond-drills'],
  },
];
