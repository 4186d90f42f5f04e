import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Kafka, startKafka } from '../../../test/servers/kafka.ts';
import { missing } from '../../../test/servers/need.ts';
import { liveContext } from '../../core/testing.ts';
import {
  type Marked,
  marked,
  markerComesBack,
  markersComeAndGo,
  numbered,
  othersAreLeftAlone,
} from '../marker-testing.ts';
import { kafkaDriver } from './driver.ts';
import { onCluster, removeEverything, withAdmin, withProducer } from './testing.ts';
import { configsOf } from './topics.ts';

const TOPIC = 'lifeboat.marker';

describe('markers in kafka', { skip: await missing('kafka-4') }, () => {
  const ctx = liveContext();
  let kafka: Kafka;
  before(async () => {
    kafka = await startKafka('kafka-4');
  });
  after(async () => await kafka?.[Symbol.asyncDispose]());
  const opened = (more: object = {}): Marked => marked(kafkaDriver.open({ brokers: kafka.brokers, ...more }));

  it('records are written to a compacted topic of their own, which is removed', async () => {
    await markersComeAndGo(ctx, opened(), { where: `topic ${TOPIC}`, removed: [`topic ${TOPIC}`] });
    await opened().mark(ctx, numbered(1));
    const configs = await onCluster(ctx, { brokers: kafka.brokers }, (cluster) => configsOf(ctx, cluster, [TOPIC]));
    assert.equal(configs.get(TOPIC)?.['cleanup.policy'], 'compact');
    await opened().unmark(ctx);
  });

  it('it comes back with a restore', async () => {
    const component = opened();
    await markerComesBack(ctx, component, {
      ...component,
      async restore(...given) {
        await removeEverything(kafka.brokers);
        return await component.restore(...given);
      },
    });
    await component.unmark(ctx);
  });

  it('what is none of ours is neither read as a marker, nor written to, nor removed', async () => {
    await withAdmin(kafka.brokers, (admin) => admin.createTopics({ topics: [TOPIC], partitions: 1 }));
    const message = { topic: TOPIC, partition: 0, key: null, value: Buffer.from('of the owner') };
    await withProducer(kafka.brokers, (producer) => producer.send({ messages: [message] }));
    await othersAreLeftAlone(ctx, opened(), /topic lifeboat\.marker is there and is no marker/);
    assert.equal(await opened().measure?.(ctx, `records ${TOPIC}`), 1);
    await removeEverything(kafka.brokers);
  });

  it('a marker that would not be captured is not written', async () => {
    await assert.rejects(opened({ topics: ['shop.*'] }).mark(ctx, numbered(1)), {
      code: 'settings-invalid',
      hint: /add 'lifeboat\.\*' to topics/,
    });
    await opened({ topics: ['shop.*', 'lifeboat.*'] }).mark(ctx, numbered(1));
    await opened().unmark(ctx);
  });
});
