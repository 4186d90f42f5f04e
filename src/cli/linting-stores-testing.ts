// Mistakes in where points lie, how long they are kept, and who can read them: for the tests of lint.

import type { LintCase } from './linting-testing.ts';

export const STORES_CASES: readonly LintCase[] = [
  {
    title: 'a store on the machine of the data',
    rule: 'same-failure',
    replace: [
      ['host: db.internal', 'host: 127.0.0.1'],
      [
        'plans:\n',
        'plans:\n  db: { schedule: "0 3 * * *", components: [shop-db], to: [local], keep: { within: 30d } }\n',
      ],
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [search, objects], ordering'],
      ['"0 4 * * 0", store: offsite', '"0 4 * * 0"'],
    ],
    at: 'components.shop-db',
    why: /all its points lie in local \(\/backup\/lifeboat\), at the place of the data itself/,
    change: ['plans.db.to: ["local","offsite"]'],
    besides: ['drill-apart', 'drill-only-here', 'references-apart'],
  },
  {
    title: 'a store on the S3 server that is protected',
    rule: 'same-failure',
    replace: [
      ['s3://shop-backup/lifeboat,', 's3://shop-backup/lifeboat, endpoint: "http://MINIO.internal:9000",'],
      [
        '  local: {',
        `  local: { format: restic, bucket: s3://b/c, endpoint: "https://minio.internal", password: "\${env:P}" }\n  third: {`,
      ],
      ['keep: { local: { within: 30d }, offsite: { daily: 30 } }', 'to: [local, offsite], keep: { within: 30d }'],
    ],
    at: 'components.objects',
    why: /local \(s3:\/\/b\/c\) and offsite \(s3:\/\/shop-backup\/lifeboat\), at the place of the data/,
    change: ['plans.nightly.to: ["local","offsite","third"]'],
  },
  {
    title: 'no store but a directory',
    rule: 'only-here',
    replace: [
      ['ordering: ref', 'to: [local], ordering: ref'],
      [', offsite: { daily: 30 }', ''],
      [', store: offsite', ''],
    ],
    at: 'components.shop-db',
    why: /a directory of the machine that makes them/,
    change: ['plans.nightly.to: ["local","offsite"]'],
    besides: ['only-here', 'only-here'],
  },
  {
    title: 'points that are gone before the next one comes',
    rule: 'keeps-one',
    replace: [['local: { within: 30d }', 'local: { within: 12h }']],
    at: 'plans.nightly.keep.local',
    why: /come 24h apart, so that local keeps the newest alone/,
    change: ['plans.nightly.keep.local.within: "24h"'],
  },
  {
    title: 'a single point in all stores',
    rule: 'keeps-one',
    replace: [
      ['keep: { local: { within: 30d }, offsite: { daily: 30 } }', 'keep: { last: 1 }'],
      ['"0 4 * * 0"', '"0 4 * * *"'],
    ],
    at: 'plans.nightly.keep',
    why: /local keeps the newest alone/,
    change: ['plans.nightly.keep.last: 2'],
    besides: ['keeps-one'],
  },
  {
    title: 'a rule for a store that gets nothing',
    rule: 'keep-mismatch',
    replace: [['ordering: ref', 'to: [offsite], ordering: ref']],
    at: 'plans.nightly.keep.local',
    why: /the plan puts nothing into local/,
    change: ['plans.nightly.to: ["offsite","local"]'],
  },
  {
    title: 'a store that was forgotten in the rules',
    rule: 'keep-mismatch',
    replace: [[', offsite: { daily: 30 }', '']],
    at: 'plans.nightly.keep',
    why: /offsite has no rule/,
    change: ['plans.nightly.keep.offsite: {"within":"30d"}'],
  },
  {
    title: 'plain files on a disk',
    rule: 'unencrypted',
    replace: [
      [
        `format: restic, bucket: /backup/lifeboat, password: "\${file:/run/secrets/lifeboat}"`,
        'format: plain, bucket: /backup/lifeboat',
      ],
    ],
    at: 'stores.local.format',
    why: /what lies in \/backup\/lifeboat is not encrypted/,
    change: [],
  },
  {
    title: 'a password in the file',
    rule: 'clear-secret',
    replace: [[`"\${env:PGPASSWORD}"`, 'canary']],
    at: 'components.shop-db.password',
    why: /a secret is written out here/,
    change: [`components.shop-db.password: "\${env:SHOP_DB_PASSWORD}"`],
  },
  {
    title: 'a password in an address',
    rule: 'clear-secret',
    replace: [[`u:\${env:P}@`, 'u:canary@']],
    at: 'components.search.url',
    why: /a secret is written out here/,
    change: [`components.search.url: "http://u:\${env:SEARCH_URL_PASSWORD}@search.internal:9200"`],
  },
  {
    title: 'a token in the hook of a plan',
    rule: 'clear-secret',
    replace: [
      [
        'ordering: ref',
        'hooks: { before: [{ http: { url: "http://q", headers: { Authorization: canary } } }], after: [] }, ordering: ref',
      ],
    ],
    at: 'plans.nightly.hooks.before.0.http.headers.Authorization',
    why: /a secret is written out here/,
    change: [
      `plans.nightly.hooks.before.0.http.headers.Authorization: "\${env:NIGHTLY_HOOKS_BEFORE_0_HTTP_HEADERS_AUTHORIZATION}"`,
    ],
  },
];
