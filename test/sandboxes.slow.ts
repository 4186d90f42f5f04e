// Those whose servers take long to start.

import { elasticsearchDriver } from '../src/drivers/elasticsearch/driver.ts';
import { kafkaDriver } from '../src/drivers/kafka/driver.ts';
import { sandboxTest } from './sandboxes.suite.ts';

await sandboxTest({ driver: elasticsearchDriver, version: 'opensearch 2.19.1', server: 'opensearch-2' });
await sandboxTest({
  ...{ driver: kafkaDriver, version: '4.3', server: 'kafka-4' },
  env: (home) => ({ KAFKA_HOME: home }),
});
