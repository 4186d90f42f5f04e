import { dirname } from 'node:path';
import { filesDriver } from '../src/drivers/files/driver.ts';
import { lokiDriver } from '../src/drivers/loki/driver.ts';
import { postgresqlDriver } from '../src/drivers/postgresql/driver.ts';
import { redisDriver } from '../src/drivers/redis/driver.ts';
import { s3Driver } from '../src/drivers/s3/driver.ts';
import { zookeeperDriver } from '../src/drivers/zookeeper/driver.ts';
import { sandboxTest } from './sandboxes.suite.ts';

await sandboxTest({ driver: postgresqlDriver, version: '15.18', server: 'postgres-15' });
await sandboxTest({ driver: postgresqlDriver, version: '17.10', server: 'postgres-17' });
await sandboxTest({ driver: redisDriver, version: 'redis 7.0.15', server: 'redis-7' });
await sandboxTest({ driver: redisDriver, version: 'valkey 9.1.2', server: 'valkey-9' });
await sandboxTest({ driver: s3Driver, version: 'MinIO', server: 'minio' });
await sandboxTest({ driver: s3Driver, version: 'VERSITYGW', server: 'versitygw' });
await sandboxTest({ driver: lokiDriver, version: '3.7.8', server: 'loki-3' });
await sandboxTest({
  ...{ driver: zookeeperDriver, version: '3.9.5', server: 'zookeeper-3.9' },
  env: (lib) => ({ ZOOKEEPER_HOME: dirname(lib) }),
});
await sandboxTest({ driver: filesDriver, version: 'any', server: null });
