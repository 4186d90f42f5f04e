import { serverSuite } from './servers.suite.ts';

await serverSuite('minio', true);
