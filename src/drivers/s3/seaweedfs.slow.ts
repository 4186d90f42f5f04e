import { serverSuite } from './servers.suite.ts';

await serverSuite('seaweedfs', false);
