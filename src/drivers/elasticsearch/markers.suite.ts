import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { liveContext } from '../../core/testing.ts';
import { marked, markerComesBack, markersComeAndGo, numbered, othersAreLeftAlone } from '../marker-testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { proxyTo } from './proxy.ts';
import { emptied, sharedCluster } from './testing.ts';

const name = 'opensearch-2';
const skip = await missing(name);
const started = sharedCluster(name);
const ctx = liveContext();
const opened = (settings: object) => marked(elasticsearchDriver.open(settings));
const INDEX = 'lifeboat-marker';

test('markers: a document is written again and again, and removed with its index', { skip }, async () => {
  const { url } = await emptied(await started());
  await markersComeAndGo(ctx, opened({ url }), { where: `index ${INDEX}`, removed: [`index ${INDEX}`] });
});

test('markers: one comes back with a restore', { skip }, async () => {
  const cluster = await emptied(await started());
  const component = opened({ url: cluster.url });
  await markerComesBack(ctx, component, {
    ...component,
    async restore(...given) {
      await emptied(cluster);
      return await component.restore(...given);
    },
  });
});

test('markers: what is none of ours is neither read as one, nor written over, nor removed', { skip }, async () => {
  const cluster = await emptied(await started());
  const component = opened({ url: cluster.url });
  const message = /index lifeboat-marker is there and is no marker/;
  await cluster.bulk(`/${INDEX}`, [{ index: { _id: 'marker' } }, { of: 'the owner' }]);
  await othersAreLeftAlone(ctx, component, message);
  await emptied(cluster);
  await cluster.bulk(`/${INDEX}`, [{ index: { _id: 'other' } }, { of: 'the owner' }]);
  for (const work of [() => component.mark(ctx, numbered(1)), () => component.unmark(ctx)]) {
    await assert.rejects(work, { code: 'exists', message });
  }
  await emptied(cluster);
  await cluster.bulk('/elsewhere', [{ index: { _id: 'marker' } }, numbered(1)]);
  await cluster.ask('POST', '/_aliases', { actions: [{ add: { index: 'elsewhere', alias: INDEX } }] });
  await othersAreLeftAlone(ctx, component, message);
});

test('markers: one that would not be captured, or may not be written, is told as such', { skip }, async () => {
  const cluster = await emptied(await started());
  const { url } = cluster;
  await assert.rejects(opened({ url, indices: ['shop-*'] }).mark(ctx, numbered(1)), {
    code: 'settings-invalid',
    message: /indices leave out lifeboat-marker/,
  });
  await using proxy = await proxyTo(cluster);
  proxy.fate = (path, _body, method) => (method === 'PUT' && path === `/${INDEX}` ? 403 : 'pass');
  await assert.rejects(opened({ url: proxy.url }).mark(ctx, numbered(1)), {
    code: 'privileges',
    message: /making index lifeboat-marker was refused/,
    hint: /docs\/drivers\/elasticsearch\.md/,
  });
  assert.equal(await opened({ url }).marker(ctx), null);
});
