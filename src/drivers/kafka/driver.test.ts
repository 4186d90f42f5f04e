import { after } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { type KafkaName, kafkaNames } from '../../../test/servers/kafka.ts';
import { missing } from '../../../test/servers/need.ts';
import { liveContext } from '../../core/testing.ts';
import { driverSuite, type FilledService } from '../driver.suite.ts';
import { kafkaDriver } from './driver.ts';
import { fill, messages, removeEverything, sharedServers, withProducer } from './testing.ts';

const servers = sharedServers();
after(() => servers[Symbol.asyncDispose]());
const skip = await missing(...kafkaNames);
if (skip === false) process.env.KAFKA_HOME = await installed('kafka-4'); // what sandboxes run

const PAIRS: readonly (readonly [from: KafkaName, into: KafkaName])[] = [
  ['kafka-3', 'kafka-4'],
  ['kafka-4', 'kafka-3'],
];
for (const [from, into] of PAIRS) {
  driverSuite({
    driver: kafkaDriver,
    name: `kafka on ${from}, restored into ${into}`,
    skip,
    filled: () => filled(from),
    async empty() {
      const { brokers } = await servers.server(into);
      await removeEverything(brokers);
      return { settings: { brokers }, async [Symbol.asyncDispose]() {} };
    },
    nowhere: { brokers: '127.0.0.1:1', timeout: '1s' },
  });
}

async function filled(name: KafkaName): Promise<FilledService> {
  const { brokers } = await servers.server(name);
  await removeEverything(brokers);
  await fill(liveContext(), brokers);
  return {
    settings: { brokers },
    async [Symbol.asyncDispose]() {},
    async change() {
      await withProducer(brokers, async (producer) => {
        await producer.send({ messages: messages('orders', 2, 1) });
      });
    },
  };
}
