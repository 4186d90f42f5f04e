// A shop on a real PostgreSQL and a real Redis is backed up, destroyed, restored and proved equal. With --s3 the
// recovery points go to a real S3 server. Everything it starts is ended, and only its report stays.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { startPostgres } from '../test/servers/postgres.ts';
import { startRedis } from '../test/servers/redis.ts';
import { startS3 } from '../test/servers/s3.ts';
import { countShop, deleteSomeCustomers, destroy, fillShop, tradeForADay, withDatabase } from './shop.ts';
import { figures, say, seconds, stageIn, title } from './stage.ts';

const DATABASE = 'shop';
const onS3 = process.argv.includes('--s3');
const stage = stageIn('demo/out');
const { out, run } = stage;

title('1. Real servers');
await using stack = new AsyncDisposableStack();
const [postgres, redis, s3] = await Promise.all([
  startPostgres(17).then((server) => stack.use(server)),
  startRedis('redis-8').then((server) => stack.use(server)),
  onS3 ? startS3('seaweedfs').then((server) => stack.use(server)) : null,
]);
const shopUrl = withDatabase(postgres.url, DATABASE);
say(`PostgreSQL 17 on port ${postgres.port}, Redis 8 on port ${redis.port}${s3 ? `, S3 at ${s3.endpoint}` : ''}`);
stage.env = {
  // The programs of these servers, which are not installed for everybody.
  PATH: [postgres.bin, dirname(redis.program), process.env.PATH].join(delimiter),
  DATABASE_URL: shopUrl,
  REDIS_URL: redis.url,
  ...(s3 ? { AWS_ACCESS_KEY_ID: s3.accessKey, AWS_SECRET_ACCESS_KEY: s3.secretKey, AWS_REGION: s3.region } : {}),
};

title('2. A shop');
await stage.timed('fill', () => fillShop(postgres.url, DATABASE, redis.url));
say(figures(await countShop(shopUrl, redis.url)));

title('3. A first recovery point');
const place = s3 ? ['--store', `s3://${s3.bucket}/demo`, '--endpoint', s3.endpoint] : ['--store', join(out, 'store')];
await run(['init', '--yes', '--from-env', '--stack', 'demo-shop', ...place], 'init');
const first = await run(['backup'], 'backup');
await run(['verify', 'latest', '--read-data'], 'verify, all data read');

title('4. A day of business, and a second recovery point');
await tradeForADay(shopUrl, redis.url);
const before = await countShop(shopUrl, redis.url);
const second = await run(['backup'], 'second backup');
stage.note('stored by the first backup', first.stored);
stage.note('stored by the second, thanks to dedup', second.stored);
await run(['list'], 'list');

title('5. Disaster: the database is dropped and Redis is flushed');
await destroy(postgres.url, DATABASE, redis.url);
await run(['restore', 'latest', '--yes'], 'restore everything, compare with the inventory');
const after = await countShop(shopUrl, redis.url);
const equal = JSON.stringify(before) === JSON.stringify(after);
say(`before: ${figures(before)}\nafter:  ${figures(after)}\n${equal ? 'equal' : 'NOT EQUAL'}`);
if (!equal) throw new Error('what came back is not what was there');

title('6. A rehearsal: restored again, into throw-away servers');
await run(['drill'], 'drill');

title('7. An accident: 250 customers deleted');
const deleted = await deleteSomeCustomers(shopUrl);
const select = ['--from', 'main-db', '--table', 'customers', '--where', 'id BETWEEN 1000 AND 1249'];
await run(['extract', 'latest', ...select, '--into', 'main-db', '--missing-only'], `extract ${deleted} deleted rows`);
const repaired = await countShop(shopUrl, redis.url);
if (repaired.customers !== before.customers) throw new Error('the deleted customers did not come back');
say(`${repaired.customers} customers again`);

title('8. Without Lifeboat: stock restic reads the same store');
stockRestic();

title('What it took');
stage.sum();
// The S3 server ends with this program, and what lies in it too.
const places = [join(out, 'lifeboat.yaml'), ...(s3 ? [] : [join(out, 'store')])];
say(`\nLook at: ${places.join(', ')}\nNothing is left running.`);

function stockRestic(): void {
  const passwordFile = join(out, 'lifeboat.password');
  if (!existsSync(passwordFile)) throw new Error('init made no password');
  const repository = s3 ? `s3:${s3.endpoint}/${s3.bucket}/demo` : join(out, 'store');
  const args = ['-r', repository, '--password-file', passwordFile, '--no-cache'];
  const version = spawnSync('restic', ['version'], { encoding: 'utf8' });
  if (version.error) {
    say(`restic is not on this machine; with it: restic -r ${s3 ? repository : 'demo/out/store'} check`);
    return;
  }
  say(`${version.stdout.trim()}\n$ restic ${s3 ? `-r ${repository} ` : ''}check`);
  const started = performance.now();
  const check = spawnSync('restic', [...args, 'check'], {
    encoding: 'utf8',
    env: { ...process.env, ...stage.env, HOME: out },
  });
  say(check.stdout.trim());
  if (check.status !== 0) throw new Error(`restic check: ${check.stderr}`);
  stage.note(`${version.stdout.split(' ').slice(0, 2).join(' ')} check`, seconds(performance.now() - started));
}
