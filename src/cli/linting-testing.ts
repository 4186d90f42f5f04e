// The right configuration, what makes mistakes of it, and those in what is followed and marked: for the tests of lint.

import assert from 'node:assert/strict';
import { testContext } from '../core/testing.ts';
import { type LintFinding, lint } from '../engine/lint/lint.ts';
import type { Setup } from '../engine/lint/setup.ts';
import { rulesIn } from './alert-rules.ts';
import { parseConfig } from './config/load.ts';
import { setupOf } from './linting.ts';

export const NOW = new Date('2026-06-10T12:00:00Z');
export const RIGHT = `stack: shop
stores:
  local: { format: restic, bucket: /backup/lifeboat, password: "\${file:/run/secrets/lifeboat}" }
  offsite: { format: restic, bucket: s3://shop-backup/lifeboat, password: "\${file:/run/secrets/lifeboat}" }
components:
  shop-db: { kind: postgresql, host: db.internal, password: "\${env:PGPASSWORD}", databases: [shop], tier: critical }
  objects: { kind: s3, endpoint: "http://minio.internal:9000", buckets: [invoices], tier: standard }
  search: { kind: elasticsearch, url: "http://u:\${env:P}@search.internal:9200", tier: standard, restore_after: [shop-db] }
tiers:
  critical: { rto: 1h, rpo: 25h }
  standard: { rto: 4h, rpo: 25h }
references:
  - { name: invoices exist, from: { component: shop-db, sql: select key from invoices }, to: { component: objects, in: invoices } }
plans:
  nightly: { schedule: "0 2 * * *", ordering: references_first, keep: { local: { within: 30d }, offsite: { daily: 30 } } }
drills:
  weekly: { schedule: "0 4 * * 0", store: offsite }
`;

export interface LintCase {
  readonly title: string;
  readonly rule: string;
  /** Of the right configuration. */
  readonly replace: readonly Replacement[];
  readonly at: string;
  readonly why: RegExp;
  /** As 'path: value', of every one; none where no value can be computed. */
  readonly change: readonly string[];
  /** Other mistakes that come with it. */
  readonly besides?: readonly string[];
  readonly measured?: Setup['measured'];
  /** The rules of alerts.yml, each as one line of YAML. */
  readonly alerts?: readonly string[];
}

type Replacement = readonly [from: string, to: string];
export function replaced(all: readonly Replacement[]): string {
  let text = RIGHT;
  for (const [from, to] of all) {
    assert.ok(text.includes(from), from);
    text = text.replace(from, () => to);
  }
  return text;
}

export async function linted(
  text: string,
  measured: Setup['measured'] = new Map(),
  alerts: readonly string[] = [],
): Promise<readonly LintFinding[]> {
  const config = await parseConfig(testContext({ env: {} }), text, 'lifeboat.yaml');
  return lint(setupOf(config, NOW, measured, alertsOf(alerts, config.alerts?.emitted))).findings;
}

export function alertsOf(rules: readonly string[], emitted: readonly string[] = []): Setup['alerts'] {
  const lines = rules.map((rule) => `      - ${rule}\n`);
  return { emitted, rules: rulesIn(`groups:\n  - name: all\n    rules:\n${lines.join('')}`, 'alerts.yml') };
}

export const FOLLOWED = 'databases: [shop], capture: [physical], follow: true, markers: 30s, tier';

export const FOLLOWING_CASES: readonly LintCase[] = [
  {
    title: 'write-ahead logs that are to be replayed on a dump',
    rule: 'follow-without-base',
    replace: [
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 15m }'],
      ['databases: [shop], tier', 'databases: [shop], capture: [logical], follow: true, tier'],
    ],
    at: 'components.shop-db.follow',
    why: /can not be replayed on a dump/,
    change: ['components.shop-db.capture: ["logical","physical"]'],
    besides: ['rpo'],
  },
  {
    title: 'a kind without a log',
    rule: 'cannot-follow',
    replace: [
      ['components:\n', 'components:\n  docs: { kind: files, paths: [/srv/docs], follow: true, tier: standard }\n'],
    ],
    at: 'components.docs.follow',
    why: /^files can not be followed, and every command that opens it is refused/,
    change: ['components.docs.follow: undefined'],
  },
  {
    title: 'a kind that can not be marked',
    rule: 'cannot-mark',
    replace: [
      [
        'components:\n',
        'components:\n  logs: { kind: loki, url: "http://loki.internal", markers: 1m, tier: standard }\n',
      ],
    ],
    at: 'components.logs.markers',
    why: /^no marker can be written into loki/,
    change: ['components.logs.markers: undefined'],
  },
  {
    title: 'markers that nobody writes',
    rule: 'markers-unfollowed',
    replace: [['databases: [shop], tier', 'databases: [shop], markers: 30s, tier']],
    at: 'components.shop-db.markers',
    why: /while it is followed, and it is not/,
    change: ['components.shop-db.capture: ["physical"]', 'components.shop-db.follow: true'],
  },
  {
    title: 'the same where following takes points at an interval',
    rule: 'markers-unfollowed',
    replace: [['.internal:9200", tier', '.internal:9200", markers: 5m, tier']],
    at: 'components.search.markers',
    why: /there is never one/,
    change: ['components.search.follow: true'],
  },
  {
    title: 'markers that come less often than what may be lost',
    rule: 'markers-coarse',
    replace: [
      ['critical: { rto: 1h, rpo: 25h }', 'critical: { rto: 1h, rpo: 15m }'],
      ['databases: [shop], tier', FOLLOWED.replace('30s', '15m')],
      [
        'drills:\n',
        'drills:\n  moment: { schedule: "30 4 * * 0", store: offsite, at: 15m ago, components: [shop-db] }\n',
      ],
    ],
    at: 'components.shop-db.markers',
    why: /^15m may be lost, and a marker each 15m can not tell/,
    change: ['components.shop-db.markers: "1m"'],
  },
  {
    title: 'drills that restore points alone',
    rule: 'markers-unread',
    replace: [['databases: [shop], tier', FOLLOWED]],
    at: 'components.shop-db.markers',
    why: /^drill weekly restores points: the newest marker in one is as old as it is/,
    change: [
      'drills.shop-db-at: {"schedule":"0 4 * * 0","timezone":"UTC","store":"offsite","at":"5m ago","components":["shop-db"]}',
    ],
  },
];
