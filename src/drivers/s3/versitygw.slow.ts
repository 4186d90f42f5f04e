import { serverSuite } from './servers.suite.ts';

await serverSuite('versitygw', false);
