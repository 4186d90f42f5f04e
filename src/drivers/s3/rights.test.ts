import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { minioUser } from '../../../test/servers/s3-rights.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { s3Driver } from './driver.ts';
import { makeBucket, put, settingsOf, sharedMinio, wipe } from './testing.ts';

const PAGE = join(import.meta.dirname, '../../../docs/drivers/s3.md');
/** MinIO takes no policy with these: it asks for another right instead. */
const NOT_OF_MINIO = ['s3:GetObjectAcl', 's3:GetObjectVersionAcl'];
/** MinIO takes the one next to it for enough. */
const TWINS: Readonly<Record<string, string>> = { GetObject: 'GetObjectVersion', GetObjectVersion: 'GetObject' };
const IMPLIED_AT_MINIO = ['s3:ListBucketVersions'];

interface Policy {
  readonly Statement: readonly { readonly Action: readonly string[] }[];
}

const skip = await missing('minio');
describe('s3 and the least rights', { skip }, async () => {
  if (skip !== false) return;
  const ctx = liveContext();
  const { server, client } = await sharedMinio(ctx);
  async function pagePolicy(): Promise<Policy> {
    const [, text = ''] = /```json\n(.*?)```/s.exec(await readFile(PAGE, 'utf8')) ?? [];
    const policy = JSON.parse(text.replace('s3:GetBucketCORS', 's3:GetBucketCors')) as Policy;
    return JSON.parse(without(policy, ...NOT_OF_MINIO)) as Policy;
  }
  const without = ({ Statement, ...rest }: Policy, ...actions: readonly string[]): string =>
    JSON.stringify({
      ...rest,
      Statement: Statement.map((each) => ({ ...each, Action: each.Action.filter((one) => !actions.includes(one)) })),
    });
  async function settingsWith(policy: string, more: object = {}): Promise<object> {
    return { ...settingsOf(server, { buckets: ['uploads'], ...more }), ...(await minioUser(server, policy)) };
  }
  async function filled(): Promise<void> {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'uploads', { lock: true });
    await put(ctx, client, 'uploads', [{ key: 'a', headers: { 'x-amz-tagging': 'k=v' } }, { key: 'secret/b' }]);
  }

  it('a bucket that may not be listed is not taken for an empty one', async () => {
    await filled();
    const policy = without(await pagePolicy(), 's3:ListBucket', 's3:ListBucketVersions');
    const { holdsData } = await s3Driver.open(await settingsWith(policy)).probe(ctx);
    assert.equal(holdsData, 'what is in bucket uploads can not be seen');
  });

  it('the policy of the page is enough to capture, and doctor is content with it', async () => {
    await filled();
    for (const versions of [false, true]) {
      const component = s3Driver.open(await settingsWith(without(await pagePolicy()), { versions }));
      const { findings } = await component.probe(ctx);
      assert.deepEqual(
        findings.filter(({ verdict }) => verdict !== 'pass'),
        [],
      );
      const { sink, source } = memoryParts();
      const { warnings } = await component.capture(ctx, sink);
      assert.deepEqual(warnings, []);
      const same = s3Driver.compare(ctx, inventoryOf(source), await component.inventory(ctx));
      assert.deepEqual(new Set((await Array.fromAsync(same)).map(({ verdict }) => verdict)), new Set(['pass']));
    }
  });

  it('of each right that is taken away doctor says which one it is', async () => {
    await filled();
    const policy = await pagePolicy();
    const actions = policy.Statement.flatMap(({ Action }) => Action);
    assert.ok(actions.length > 10);
    for (const action of actions) {
      if (IMPLIED_AT_MINIO.includes(action)) continue;
      const versions = action.includes('Version') && action !== 's3:GetBucketVersioning';
      // At MinIO either of the two would do.
      const twin = action.replace(/GetObjectVersion|GetObject/, (it) => TWINS[it] ?? it);
      const component = s3Driver.open(await settingsWith(without(policy, action, twin), { versions }));
      const named = new RegExp(`\\(${action}\\)`, 'i');
      const failed = (await component.probe(ctx)).findings.filter(({ verdict }) => verdict !== 'pass');
      assert.ok(
        failed.some(({ check, hint }) => named.test(check) && hint?.includes(' on arn:aws:s3:::uploads')),
        `${action}: ${JSON.stringify(failed)}`,
      );
    }
    const all = s3Driver.open(await settingsWith(without(policy), { buckets: 'all' }));
    assert.match((await all.probe(ctx)).findings[0]?.check ?? '', /all buckets can be found|can be listed/);
  });

  it('a right whose lack a server would hide fails the capture before anything is read', async () => {
    await filled();
    for (const action of ['s3:GetObjectTagging', 's3:GetObjectRetention', 's3:GetObjectLegalHold']) {
      const component = s3Driver.open(await settingsWith(without(await pagePolicy(), action)));
      const hint = new RegExp(`allow ${action} on`);
      await assert.rejects(component.capture(ctx, memoryParts().sink), { code: 'denied', hint }, action);
    }
    const untagged = await settingsWith(without(await pagePolicy(), 's3:GetObjectTagging'), { tags: 'never' });
    await s3Driver.open(untagged).capture(ctx, memoryParts().sink);
  });

  it('a prefix that is not for the key fails the capture and is named, or is left out when told', async () => {
    await filled();
    const { Statement, ...rest } = await pagePolicy();
    const deny = { Effect: 'Deny', Action: ['s3:GetObject'], Resource: ['arn:aws:s3:::uploads/secret/*'] };
    const policy = JSON.stringify({ ...rest, Statement: [...Statement, deny] });
    const refused = s3Driver.open(await settingsWith(policy));
    const failure = { code: 'denied', message: /reading uploads\/secret\/b/, hint: /exclude/ };
    await assert.rejects(refused.capture(ctx, memoryParts().sink), failure);
    const exclude = await settingsWith(policy, { buckets: [{ name: 'uploads', exclude: ['secret/'] }] });
    const component = s3Driver.open(exclude);
    const { sink, source } = memoryParts();
    const { totals } = await component.capture(ctx, sink);
    assert.equal(totals.objects, 1);
    // And what was left out is left alone.
    const owner = s3Driver.open(settingsOf(server, { buckets: 'all' }));
    await put(ctx, client, 'uploads', [{ key: 'extra' }]);
    await owner.restore(ctx, { base: source }, { replace: true, rename: {} });
    const findings = await Array.fromAsync(s3Driver.compare(ctx, inventoryOf(source), await component.inventory(ctx)));
    assert.deepEqual(new Set(findings.map(({ verdict }) => verdict)), new Set(['pass']));
    const names = await Array.fromAsync(s3Driver.open(settingsOf(server)).names?.(ctx, 'uploads') ?? []);
    assert.deepEqual(names, ['a', 'secret/b']);
  });
});
