import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { liveContext } from '../core/testing.ts';
import { loadConfig } from './config/load.ts';
import type { Config } from './config/model.ts';
import { openOthers, openStack } from './stack.ts';
import { filesStack, refusedStore } from './testing.ts';

const stack = await filesStack();
after(() => stack[Symbol.dispose]());
const right = readFileSync(stack.file, 'utf8');

function bytesIn(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .reduce((sum, each) => sum + statSync(join(each.parentPath, each.name)).size, 0);
}

/** What a backup says that it stored in each store, beside what the store's folder has grown by. */
async function backUp(): Promise<Readonly<Record<string, { said: number; grown: number }>>> {
  const before = new Map(['one', 'two'].map((name) => [name, bytesIn(join(stack.dir, name))]));
  const { exit, json, failure } = await stack.run('backup');
  assert.equal(exit, 0, failure);
  const stores = json.stores as { name: string; stored_bytes: number }[];
  return Object.fromEntries(
    stores.map(({ name, stored_bytes: said }) => [
      name,
      { said, grown: bytesIn(join(stack.dir, name)) - (before.get(name) ?? 0) },
    ]),
  );
}

test('a backup says how much its stores have grown by: all that is new, and little when nothing is', async () => {
  const newBytes = 3 * 1024 * 1024;
  writeFileSync(join(stack.dir, 'data', 'random'), randomBytes(newBytes));
  for (const [name, { said, grown }] of Object.entries(await backUp())) {
    assert.ok(said >= grown && said < grown + 4096, `${name}: ${said} said, ${grown} grown by`); // a lock is gone again
    assert.ok(said > newBytes, `${name}: ${said}`);
  }
  const { one } = await backUp();
  assert.ok(one && one.said >= one.grown && one.said < 16 * 1024, JSON.stringify(one));
});

test('no store is asked before the settings of all components are known', async () => {
  await using away = await refusedStore();
  const file = join(stack.dir, 'away.yaml');
  const text = right.replace('stores:\n', `stores:\n  away: ${away.yaml}\n`);
  const open = async (): Promise<unknown> => {
    const ctx = liveContext({ env: {} });
    await using opened = await openStack(ctx, await loadConfig(ctx, file), {});
    return opened.failed;
  };
  writeFileSync(file, text.replace(/paths: \[.*\]/, `paths: ["/\${env:NOT_SET}"]`));
  await assert.rejects(open, /components\.docs\.paths\[0\]: the variable NOT_SET is not set/);
  assert.equal(away.calls(), 0);
  writeFileSync(file, text);
  await open();
  assert.notEqual(away.calls(), 0);
});

test('why a component can not be opened is not hidden by a store that can not be closed', async () => {
  const ctx = liveContext();
  const config = await loadConfig(ctx, stack.file);
  let closed = 0;
  const broken: Config = {
    ...config,
    stores: config.stores.map((each) => ({
      ...each,
      format: async () => {
        const format = await each.format();
        return {
          ...format,
          async open(...args: Parameters<typeof format.open>) {
            const store = await format.open(...args);
            const close = async (): Promise<void> => {
              await store[Symbol.asyncDispose]();
              closed += 1;
              throw new Error('the lock stays');
            };
            return { ...store, [Symbol.asyncDispose]: close };
          },
        };
      },
    })),
    components: config.components.map((each) => ({
      ...each,
      driver: async () => {
        throw new Error('the driver can not be loaded');
      },
    })),
  };
  await assert.rejects(openStack(ctx, broken, {}), /the driver can not be loaded/);
  assert.equal(closed, 2);
});

test('stores that a command does not write to are opened only for components that note there what they suspend', async () => {
  await using away = await refusedStore();
  const file = join(stack.dir, 'others.yaml');
  writeFileSync(file, right.replace('stores:\n', `stores:\n  away: ${away.yaml}\n`));
  const ctx = liveContext({ env: {} });
  const config = await loadConfig(ctx, file);
  await using opened = await openStack(ctx, config, { stores: ['one'] });
  await using none = await openOthers(ctx, config, opened);
  assert.deepEqual([none.stores.length, away.calls()], [0, 0]);
  const resume = async (): Promise<void> => undefined;
  const components = opened.components.map((each) => ({ ...each, component: { ...each.component, resume } }));
  await using others = await openOthers(ctx, config, { ...opened, components });
  assert.deepEqual(
    others.stores.map(({ name }) => name),
    ['two'],
    'one that can not be opened is left out',
  );
  assert.ok(away.calls() > 0);
});
