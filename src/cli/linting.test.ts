// Each rule on a configuration with its mistake, then with the change that it proposes: it is quiet.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parseDocument } from 'yaml';
import { testContext } from '../core/testing.ts';
import { type LintFinding, lint, RULE_WORDS } from '../engine/lint/lint.ts';
import { parseConfig } from './config/load.ts';
import { setupOf } from './linting.ts';
import { FOLLOWING_CASES, type LintCase, linted, NOW, RIGHT, replaced } from './linting-testing.ts';

const CASES: readonly LintCase[] = [
  ...FOLLOWING_CASES,
  {
    title: 'a schedule that lets more be lost than is promised',
    rule: 'rpo',
    replace: [['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 15m }']],
    at: 'components.shop-db',
    why: /^15m may be lost, but plan nightly captures nothing of it from 2026-06-10T02:00Z to 2026-06-11T02:00Z, and it is not followed: 24h at worst$/,
    change: ['components.shop-db.capture: ["physical"]', 'components.shop-db.follow: true'],
  },
  {
    title: 'the same of what has no log to follow',
    rule: 'rpo',
    replace: [
      ['standard: { rto: 4h, rpo: 25h }', 'standard: { rto: 4h, rpo: 25h }\n  soon: { rto: 4h, rpo: 15m }'],
      ['.internal:9200", tier: standard', '.internal:9200", tier: soon'],
    ],
    at: 'components.search',
    why: /to 2026-06-11T02:00Z: 24h at worst$/,
    change: ['plans.nightly.schedule: "*/10 * * * *"'],
  },
  {
    title: 'a schedule without a minute for the capture itself',
    rule: 'rpo',
    replace: [['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 24h }']],
    at: 'components.shop-db',
    why: /the next point counts only when its capture has ended$/,
    change: ['plans.nightly.schedule: "0 2,14 * * *"'],
  },
  {
    title: 'captures that take what is left of the promise',
    rule: 'rpo',
    replace: [],
    measured: new Map([['shop-db', { captureMs: 70 * 60_000, recoverMs: null }]]),
    at: 'components.shop-db',
    why: /, and a capture takes 1h10m until it counts$/,
    change: ['plans.nightly.schedule: "0 2,14 * * *"'],
  },
  {
    title: 'a zone whose clocks go back an hour in autumn',
    rule: 'rpo',
    replace: [['"0 2 * * *", ordering', '"0 5 * * *", timezone: Europe/Berlin, ordering']],
    at: 'components.shop-db',
    why: /from 2026-10-24T03:00Z to 2026-10-25T04:00Z, and the next point/,
    change: ['plans.nightly.schedule: "0 5,17 * * *"'],
    besides: ['rpo', 'rpo'],
  },
  {
    title: 'a promise that holds only as long as the machine of the component does',
    rule: 'rpo-elsewhere',
    replace: [
      ['host: db.internal', 'host: localhost'],
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 7h }'],
      ['plans:\n', 'plans:\n  often: { schedule: "0 */6 * * *", components: [shop-db], to: [local] }\n'],
    ],
    at: 'components.shop-db',
    why: /local goes with what takes the component, and then plan nightly captures nothing of it .* 24h at worst/,
    change: ['plans.often.to: ["local","offsite"]'],
  },
  {
    title: 'a recovery that took longer in drills than is promised',
    rule: 'rto',
    replace: [],
    measured: new Map([
      ['shop-db', { captureMs: null, recoverMs: 50 * 60_000 }],
      ['search', { captureMs: null, recoverMs: 200 * 60_000 }],
    ]),
    at: 'components.search',
    why: /back within 4h is promised, but as the last drills went it takes 4h10m, after shop-db$/,
    change: ['tiers.standard.rto: "5h"'],
  },
  {
    title: 'a component that is promised before what it waits for',
    rule: 'rto-order',
    replace: [['tier: critical }', 'tier: critical, restore_after: [objects] }']],
    at: 'components.shop-db.restore_after',
    why: /within 1h, but restored after objects, which is promised only within 4h/,
    change: ['tiers.critical.rto: "4h"'],
  },
  {
    title: 'a component that no plan has',
    rule: 'not-captured',
    replace: [
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, objects], ordering'],
      ['"0 4 * * 0", store', '"0 4 * * 0", components: [shop-db, objects], store'],
    ],
    at: 'components.search',
    why: /no plan captures it/,
    change: ['plans.nightly.components: ["shop-db","objects","search"]'],
  },
  {
    title: 'plans that nothing ever starts',
    rule: 'not-captured',
    replace: [['schedule: "0 2 * * *", ', '']],
    at: 'components.shop-db',
    why: /plan nightly captures it, but never by itself/,
    change: ['plans.nightly.schedule: "0 2 * * *"'],
    besides: ['not-captured', 'not-captured'],
  },
  {
    title: 'a schedule that never comes',
    rule: 'not-captured',
    replace: [['"0 2 * * *"', '"0 2 31 2 *"']],
    at: 'components.shop-db',
    why: /no schedule of it comes/,
    change: ['plans.nightly.schedule: "0 2 * * *"'],
    besides: ['not-captured', 'not-captured'],
  },
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
  {
    title: 'objects that are captured before the rows that point to them',
    rule: 'references-unordered',
    replace: [['ordering: references_first, ', '']],
    at: 'plans.nightly',
    why: /objects may be captured before shop-db, which points to it/,
    change: ['plans.nightly.ordering: "references_first"'],
  },
  {
    title: 'a reference whose ends are in no common point',
    rule: 'references-apart',
    replace: [
      ['"0 2 * * *", ordering', '"0 2 * * *", components: [shop-db, search], ordering'],
      ['plans:\n', 'plans:\n  objects: { schedule: "0 3 * * *", components: [objects], keep: { within: 30d } }\n'],
      [
        'store: offsite }',
        'store: offsite, components: [shop-db, search] }\n  more: { schedule: "0 5 * * 0", store: offsite, components: [objects] }',
      ],
    ],
    at: 'references',
    why: /no plan captures shop-db and objects into one point, so that "invoices exist"/,
    change: ['plans.nightly.components: ["shop-db","search","objects"]'],
  },
  {
    title: 'one database under two names',
    rule: 'captured-twice',
    replace: [
      [
        'components:\n',
        'components:\n  db: { kind: postgresql, url: "postgresql://u@DB.internal:5432/shop", tier: critical }\n',
      ],
    ],
    at: 'components.shop-db',
    why: /what it holds is in db, too/,
    change: [],
  },
  {
    title: 'a directory within another',
    rule: 'captured-twice',
    replace: [
      [
        'components:\n',
        'components:\n  a: { kind: files, paths: [/srv], tier: critical }\n  b: { kind: files, paths: [/srv/shop], tier: critical }\n',
      ],
    ],
    at: 'components.b',
    why: /what it holds is in a, too/,
    change: [],
  },
  {
    title: 'a cluster of which only its own snapshots are kept',
    rule: 'snapshot-only',
    replace: [
      [
        'tier: standard, restore_after',
        'tier: standard, method: snapshot, repository: { type: fs, settings: { location: /s } }, restore_after',
      ],
    ],
    at: 'components.search.method',
    why: /nothing but snapshots is kept of this cluster/,
    change: ['components.search.method: "export"'],
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
  {
    title: 'a component of which nothing is promised',
    rule: 'no-tier',
    replace: [['tier: standard, restore_after', 'restore_after']],
    at: 'components.search',
    why: /nothing is promised for it/,
    change: [],
  },
  {
    title: 'a tier that promises nothing',
    rule: 'no-tier',
    replace: [['critical: { rto: 1h, rpo: 25h }', 'critical: {}']],
    at: 'tiers.critical',
    why: /its tier critical promises neither rto nor rpo/,
    change: [],
  },
  {
    title: 'a tier without components',
    rule: 'unused-tier',
    replace: [['tiers:\n', 'tiers:\n  logs: { rpo: 7d }\n']],
    at: 'tiers.logs',
    why: /no component is in it/,
    change: ['tiers.logs: undefined'],
  },
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
  for (const { title, rule, replace, at, why, change, besides = [], measured } of CASES) {
    test(`${rule}: ${title}`, async () => {
      const text = replaced(replace);
      const findings = await linted(text, measured);
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
      const left = await linted(changed(text, finding), measured);
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
