import { after } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { kafkaNames } from '../../../test/servers/kafka.ts';
import { missing } from '../../../test/servers/need.ts';
import { driverSuite } from '../driver.suite.ts';
import { kafkaDriver } from './driver.ts';
import { rigBetween, sharedServers } from './testing.ts';

const servers = sharedServers();
after(() => servers[Symbol.asyncDispose]());
const skip = await missing(...kafkaNames);
if (skip === false) process.env.KAFKA_HOME = await installed('kafka-4'); // what sandboxes run

driverSuite({ driver: kafkaDriver, skip, ...rigBetween(servers, 'kafka-3', 'kafka-4') });
