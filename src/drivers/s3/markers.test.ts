import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { minioUser } from '../../../test/servers/s3-rights.ts';
import { liveContext } from '../../core/testing.ts';
import {
  type Marked,
  marked,
  markerComesBack,
  markersComeAndGo,
  numbered,
  othersAreLeftAlone,
} from '../marker-testing.ts';
import { s3Driver } from './driver.ts';
import { listed } from './listing.ts';
import { makeBucket, put, settingsOf, sharedMinio, wipe } from './testing.ts';

const skip = await missing('minio');
describe('markers in s3', { skip }, async () => {
  if (skip !== false) return;
  const ctx = liveContext();
  const { server, client } = await sharedMinio(ctx);
  const opened = (more: object = {}): Marked => marked(s3Driver.open(settingsOf(server, more)));
  const versionsIn = async (bucket: string): Promise<number> => {
    const pages = await Array.fromAsync(listed(ctx, client, { bucket, prefix: '', exclude: [], versions: true }));
    return pages.flat().length;
  };

  it('an object is written again and again within the prefix, and removed', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'uploads');
    await markersComeAndGo(ctx, opened({ buckets: ['uploads'] }), {
      where: 'object uploads/lifeboat/marker',
      removed: ['object uploads/lifeboat/marker'],
    });
    await markersComeAndGo(ctx, opened({ buckets: [{ name: 'uploads', prefix: 'shop/' }] }), {
      where: 'object uploads/shop/lifeboat/marker',
      removed: ['object uploads/shop/lifeboat/marker'],
    });
    assert.equal(await versionsIn('uploads'), 0);
  });

  it('where every write makes a version, two are the most that stay, and none of them when they are removed', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'versioned', { versions: true });
    const component = opened({ buckets: [{ name: 'versioned', versions: true }] });
    for (const number of [1, 2, 3, 4, 5]) await component.mark(ctx, numbered(number));
    assert.equal(await versionsIn('versioned'), 2);
    assert.deepEqual(await component.unmark(ctx), ['object versioned/lifeboat/marker, 2 versions']);
    assert.equal(await versionsIn('versioned'), 0);
  });

  it('it comes back with a restore', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'uploads');
    const component = opened({ buckets: ['uploads'] });
    const target = { ...component, restore: back };
    async function back(...[within, chain, options]: Parameters<Marked['restore']>) {
      await wipe(ctx, client);
      return await component.restore(within, chain, options);
    }
    await markerComesBack(ctx, component, target);
  });

  it('what is none of ours is neither read as a marker, nor written over, nor removed', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'uploads');
    await put(ctx, client, 'uploads', [{ key: 'lifeboat/marker', body: 'of the owner' }]);
    const component = opened({ buckets: ['uploads'] });
    await othersAreLeftAlone(ctx, component, /uploads\/lifeboat\/marker is there and is no marker/);
    assert.equal(await versionsIn('uploads'), 1);
  });

  it('a marker that would not be captured is not written', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'uploads');
    const component = opened({ buckets: [{ name: 'uploads', exclude: ['life'] }] });
    await assert.rejects(component.mark(ctx, numbered(1)), { code: 'settings-invalid', message: /exclude/ });
    assert.equal(await versionsIn('uploads'), 0);
  });

  it('who may not write is told the rights', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'uploads', { versions: true });
    const policyWith = (Action: readonly string[]): string =>
      JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action, Resource: ['arn:aws:s3:::uploads', 'arn:aws:s3:::uploads/*'] }],
      });
    const as = async (...actions: string[]): Promise<Marked> => {
      const rights = ['s3:GetObject', 's3:ListBucket', 's3:ListBucketVersions', 's3:GetBucketVersioning', ...actions];
      return opened({ buckets: ['uploads'], ...(await minioUser(server, policyWith(rights))) });
    };
    const reader = await as();
    const refused = { code: 'privileges', hint: /s3:PutObject.* on uploads\/lifeboat\/marker/ };
    await assert.rejects(reader.mark(ctx, numbered(1)), refused);
    const writer = await as('s3:PutObject');
    for (const number of [1, 2]) await writer.mark(ctx, numbered(number));
    await assert.rejects(writer.mark(ctx, numbered(3)), refused); // and nothing piles up
    assert.equal(await versionsIn('uploads'), 2);
    const all = await as('s3:PutObject', 's3:DeleteObject', 's3:DeleteObjectVersion');
    await all.unmark(ctx);
    assert.equal(await versionsIn('uploads'), 0);
  });
});
