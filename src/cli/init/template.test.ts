import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testContext } from '../../core/testing.ts';
import { lint } from '../../engine/lint/lint.ts';
import { parseConfig } from '../config/load.ts';
import { setupOf } from '../linting.ts';
import { NOW } from '../linting-testing.ts';
import { fromCompose } from './detect.ts';
import { configText, type InitChoice, recoveryKit } from './template.ts';

const IMAGES = [
  'postgres:17',
  'redis:8',
  'minio/minio',
  'opensearchproject/opensearch:3',
  'grafana/loki',
  'apache/kafka',
  'zookeeper',
];
const services = IMAGES.map((image, at) => `  s${at}: { image: "${image}" }\n`).join('');
const CHOICE: InitChoice = {
  stack: 'shop',
  storeUrl: 's3://backups/shop',
  endpoint: undefined,
  passwordFile: '/etc/lifeboat.password',
  components: [
    ...fromCompose(`services:\n${services}`, 'compose.yml', {}),
    { name: 'uploads', kind: 'files', settings: { paths: ['/srv/uploads'] }, from: 'your answer' },
  ],
};

async function lintOf(choice: InitChoice) {
  const config = await parseConfig(testContext({ env: {} }), configText(choice), 'lifeboat.yaml');
  const { findings } = lint(setupOf(config, NOW, new Map()));
  return { tiers: config.tiers, told: findings.map(({ rule, at }) => `${rule} ${at.join('.')}`) };
}

test('lint finds nothing in what init writes but what is so: a store at the place of the data', async () => {
  assert.equal(CHOICE.components.length, 8);
  assert.deepEqual((await lintOf(CHOICE)).told, []);
  const { told } = await lintOf({ ...CHOICE, storeUrl: '/backup' });
  assert.deepEqual(
    told,
    CHOICE.components.map(({ name }) => `same-failure components.${name}`),
  );
});

test('init promises nothing for the owners: what the plan keeps, and that the rest is to be decided, or what was answered', async () => {
  const HOUR_MS = 3_600_000;
  assert.match(
    configText(CHOICE),
    /^# TO BE DECIDED by the owners of the data: [\s\S]*\n {4}rpo: 25h\n {4}# rto: 4h\n/m,
  );
  assert.deepEqual((await lintOf(CHOICE)).tiers, { standard: { rpo: 25 * HOUR_MS } });
  const answered = { ...CHOICE, promised: { rpo: '1h', rto: '2h' } };
  assert.doesNotMatch(configText(answered), /DECIDED/);
  const { tiers, told } = await lintOf(answered);
  assert.deepEqual(tiers, { standard: { rpo: HOUR_MS, rto: 2 * HOUR_MS } });
  // The night can't keep that, and it is said of each; that a drill on Sundays would report it, too.
  assert.deepEqual([...new Set(told.map((each) => each.split(' ')[0]))], ['rpo']);
  assert.equal(told.length, CHOICE.components.length);
  assert.match(configText({ ...CHOICE, promised: { rpo: '1h', rto: undefined } }), /rpo: 1h\n {4}# rto: 4h\n/);
});

test('a recovery kit asks for what its stores need, and tells how each is read without us', () => {
  const restic = { name: 'main', url: '/backup/main', key: 'b04577c9aa' };
  const plain = { name: 'dated', url: '/backup/dated', key: null };
  const kit = (...stores: (typeof restic | typeof plain)[]): string => recoveryKit('shop', stores, '/etc/l.yaml');
  assert.match(kit(restic), /^Recovery kit of stack shop: keep these 3 things .*\n1\. The password of the store/);
  assert.match(kit(restic), /\n {2}main: \/backup\/main, opened by key b04577c9\n/);
  assert.doesNotMatch(kit(restic), /gunzip/);
  assert.doesNotMatch(kit(plain), /password|restic|keys kit/);
  assert.match(
    kit(plain),
    /keep these 2 things .*\n1\. The configuration, \/etc\/l\.yaml\.\n2\. Where .*\n[\s\S]*gunzip/,
  );
  assert.match(kit(restic, plain), /restic -r STORE[\s\S]*gunzip/);
});
