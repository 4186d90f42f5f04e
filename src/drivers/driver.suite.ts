// How every driver must behave, whatever it protects. A driver's test is a rig and a call.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { byteOrder } from '../core/bytes.ts';
import type { Component } from '../core/component.ts';
import type { Driver } from '../core/driver.ts';
import { isFailure } from '../core/errors.ts';
import { INVENTORY_PART, inventoryFrom, inventoryOf } from '../core/inventory.ts';
import type {
  Bytes,
  Capture,
  Context,
  Finding,
  InventoryLine,
  InventoryReader,
  Part,
  Rendition,
  Selection,
  Sink,
  Source,
} from '../core/model.ts';
import { liveContext, memoryParts } from '../core/testing.ts';
import { worst } from '../core/verdict.ts';

export interface Service extends AsyncDisposable {
  readonly settings: unknown;
}
export interface FilledService extends Service {
  /** Changes the data so that it is no longer equal to what was captured. */
  change(): Promise<void>;
  /** Rows, keys or files that `extract` can be asked for. Needed when the component has `extract`. */
  readonly extract?: {
    readonly selection: Selection;
    /** The keys of the rows that it selects, in any order; at least three. */
    readonly keys: readonly string[];
    /** Removes one of them from the live service and gives another one other content. */
    damage(): Promise<void>;
  };
}
export interface DriverRig {
  readonly driver: Driver;
  /** Told apart in the titles when a driver is tried on several servers: 'redis on valkey-8'. */
  readonly name?: string;
  /** Why none of it can run here; the answer of `missing` of test/servers. */
  readonly skip?: string | false;
  /** A live service that holds data. Called once per behaviour: a rig may share one server between calls. */
  filled(): Promise<FilledService>;
  /** A place of the same kind and version that a restore may go to. */
  empty(): Promise<Service>;
  /** Settings of a service that does not answer. Needed where there is a service. */
  readonly nowhere?: unknown;
  /** Appears in the settings and must appear nowhere else. */
  readonly secret?: string;
  /** Behaviours, by title, that make no sense for this kind, each with the reason. */
  readonly except?: Readonly<Record<string, string>>;
}

export function driverSuite(rig: DriverRig): void {
  const { driver, except = {} } = rig;
  const unused = new Set(Object.keys(except));
  const behaviour = (title: string, run: () => Promise<void>): void => {
    unused.delete(title);
    it(title, { skip: except[title] ?? false }, run);
  };
  describe(rig.name ?? driver.kind, { skip: rig.skip ?? false }, () => {
    settingsBehaviours(rig, behaviour);
    captureBehaviours(rig, behaviour);
    restoreBehaviours(rig, behaviour);
    abilityBehaviours(rig, behaviour);
    it('every exception names a behaviour, and none an ability that is there', () => {
      assert.deepEqual([...unused], []);
      const component = rig.nowhere === undefined ? {} : driver.open(rig.nowhere);
      for (const [ability, title] of Object.entries(ABILITIES)) assert.ok(!(title in except && ability in component));
    });
  });
}

const ABILITIES = {
  extract: 'brings back what was lost, and only that',
  stage: 'restores beside the live data, which stays until it is published',
};

type Behaviour = (title: string, run: () => Promise<void>) => void;

function settingsBehaviours({ driver, filled, empty, nowhere }: DriverRig, behaviour: Behaviour): void {
  behaviour('refuses settings that make no sense', async () => {
    await using service = await filled();
    const { settings } = service;
    assert.ok(typeof settings === 'object');
    for (const wrong of [42, null, [], {}, { ...settings, no_such_setting: 1 }]) {
      assert.throws(() => driver.open(wrong), { code: 'settings-invalid' }, JSON.stringify(wrong));
    }
    assert.throws(() => driver.open({ ...settings, no_such_setting: 1 }), /no_such_setting/);
  });

  behaviour('a probe tells what is there and changes nothing', async () => {
    const ctx = liveContext();
    await using full = await filled();
    await using bare = await empty();
    const component = driver.open(full.settings);
    const before = await copyOf(ctx, await component.inventory(ctx));
    const first = await component.probe(ctx);
    const second = await component.probe(ctx);
    assert.deepEqual([second.version, second.identity], [first.version, first.identity]);
    assert.notEqual(first.identity, '');
    assert.equal(typeof first.holdsData, 'string');
    assert.equal((await driver.open(bare.settings).probe(ctx)).holdsData, null);
    await assertEqual(ctx, driver, before, await component.inventory(ctx));
  });

  behaviour('says so when the service does not answer', async () => {
    const ctx = liveContext();
    assert.notEqual(nowhere, undefined, 'the rig must say where no service is');
    const component = driver.open(nowhere);
    await assert.rejects(component.probe(ctx), { code: 'unreachable', hint: /see that it runs/ });
    await assert.rejects(component.capture(ctx, memoryParts().sink), { code: 'unreachable' });
  });
}

function captureBehaviours(rig: DriverRig, behaviour: Behaviour): void {
  const { driver, filled } = rig;
  behaviour('a capture has lawful parts, an inventory, a cut and totals', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const { source, capture } = await captured(ctx, driver.open(service.settings));
    const parts = await partsOf(ctx, source);
    for (const { name } of parts) assert.ok(isLawful(name), name);
    assert.ok(parts.some(({ name }) => name === INVENTORY_PART));
    const lines = await linesOf(ctx, inventoryOf(source));
    assert.notEqual(lines.length, 0);
    const keys = lines.map(({ kind, name }) => `${kind}\0${name}`);
    assert.deepEqual(keys, keys.toSorted(byCodeUnit), 'in order of kind and name');
    assert.equal(new Set(keys).size, keys.length, 'no line twice');
    assert.notEqual(capture.cut.position, '');
    assert.ok(Number.isFinite(Date.parse(capture.cut.at)));
    assert.notDeepEqual(capture.totals, {});
  });

  behaviour('the inventory is that of the cut, whatever comes after', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const component = driver.open(service.settings);
    const { source } = await captured(ctx, component);
    await assertEqual(ctx, driver, inventoryOf(source), await component.inventory(ctx));
    await service.change();
    const findings = await compared(ctx, driver, inventoryOf(source), await component.inventory(ctx));
    assert.equal(worst(findings.map(({ verdict }) => verdict)), 'fail', 'a change is seen');
  });

  behaviour('a second capture on top of the first is as whole as the first', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const component = driver.open(service.settings);
    const { source, capture: first } = await captured(ctx, component);
    await service.change();
    const next = memoryParts('it', '2026-01-02-000000');
    // `keep` takes the bytes from where the earlier point holds them.
    const keeping: Sink = {
      ...next.sink,
      keep: async (c, name, from, meta) => await next.sink.put(c, name, source.get(c, from.name), meta),
    };
    const second = await component.capture(ctx, keeping, source);
    await assertEqual(ctx, driver, inventoryOf(next.source), await component.inventory(ctx));
    assert.equal(second.identity, first.identity);
  });

  behaviour('a stopped capture is no capture', async () => {
    const stop = new AbortController();
    const ctx = liveContext({ signal: stop.signal });
    await using service = await filled();
    const { sink } = memoryParts();
    const stopping: Sink = {
      ...sink,
      put: async (c, name, body, meta) => {
        stop.abort();
        return await sink.put(c, name, body, meta);
      },
    };
    await assert.rejects(driver.open(service.settings).capture(ctx, stopping));
  });

  behaviour('a store that refuses a part fails the capture with its own reason', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const refusal = new RangeError('the store is full');
    const refusing: Sink = { ...memoryParts().sink, put: () => Promise.reject(refusal) };
    await assert.rejects(driver.open(service.settings).capture(ctx, refusing), (error) => error === refusal);
  });

  behaviour('every part has a plain form of its own', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const { source, capture } = await captured(ctx, driver.open(service.settings));
    const names = (await partsOf(ctx, source)).map(({ name }) => name);
    let last = '';
    const forms = new Map<string, Rendition>();
    for await (const { part, rendition } of driver.renditions?.(ctx, source, capture.serverVersion) ?? []) {
      assert.ok(byteOrder(last, part) < 0, `${part} comes in order`);
      last = part;
      forms.set(part, rendition);
    }
    const plain = names.map((name) => forms.get(name)?.name ?? name);
    assert.equal(new Set(plain).size, plain.length);
    for (const [name, form] of forms) {
      assert.ok(names.includes(name), `${name} is a part`);
      assert.ok(isLawful(form.name), form.name);
      let bytes = 0;
      for await (const chunk of form.transform?.(ctx, source.get(ctx, name)) ?? []) bytes += chunk.length;
      assert.ok(bytes > 0 || form.transform === undefined, `${form.name} is not empty`);
    }
  });

  behaviour('secrets stay in the settings', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const component = driver.open(service.settings);
    const { source, capture } = await captured(ctx, component);
    const probe = await component.probe(ctx);
    const inventory = await linesOf(ctx, inventoryOf(source));
    const secrets = [rig.secret ?? [], await sandboxSecret(ctx, driver, probe.version)].flat();
    const told = JSON.stringify([capture, probe, inventory, ctx.logged, ctx.events]);
    for (const secret of secrets) {
      assert.ok(!told.includes(secret));
    }
  });
}

function restoreBehaviours({ driver, filled, empty }: DriverRig, behaviour: Behaviour): void {
  behaviour('what comes back is what was there', async () => {
    const ctx = liveContext();
    await using service = await filled();
    await using target = await empty();
    const { source } = await captured(ctx, driver.open(service.settings));
    const component = driver.open(target.settings);
    await component.restore(ctx, { base: source });
    await assertEqual(ctx, driver, inventoryOf(source), await component.inventory(ctx));
    // And what came back can be captured in its turn.
    const again = await captured(ctx, component);
    await assertEqual(ctx, driver, inventoryOf(source), inventoryOf(again.source));
  });

  behaviour('will not restore over data', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const component = driver.open(service.settings);
    const { source } = await captured(ctx, component);
    await service.change();
    const before = await copyOf(ctx, await component.inventory(ctx));
    await assert.rejects(component.restore(ctx, { base: source }), { code: 'target-not-empty' });
    await assertEqual(ctx, driver, before, await component.inventory(ctx));
  });

  behaviour('restores over data when told to replace it', async () => {
    const ctx = liveContext();
    await using service = await filled();
    const component = driver.open(service.settings);
    const { source } = await captured(ctx, component);
    await service.change();
    await component.restore(ctx, { base: source }, { replace: true });
    await assertEqual(ctx, driver, inventoryOf(source), await component.inventory(ctx));
  });

  behaviour('a part that ends early is never a success', async () => {
    const ctx = liveContext();
    await using service = await filled();
    await using target = await empty();
    const { source } = await captured(ctx, driver.open(service.settings));
    const parts = (await partsOf(ctx, source)).filter(({ name }) => !name.endsWith('.ndjson'));
    const largest = parts.toSorted((a, b) => b.bytes - a.bytes)[0];
    assert.ok(largest);
    const short: Source = {
      ...source,
      get: (c, name, range) =>
        name === largest.name ? cut(source.get(c, name, range), largest.bytes >> 1) : source.get(c, name, range),
    };
    await assert.rejects(driver.open(target.settings).restore(ctx, { base: short }), (error) => isFailure(error));
  });
}

function abilityBehaviours({ driver, filled, empty }: DriverRig, behaviour: Behaviour): void {
  behaviour(ABILITIES.extract, async () => {
    const ctx = liveContext();
    await using service = await filled();
    const component = driver.open(service.settings);
    assert.ok(component.extract, 'a driver without it is excepted');
    assert.ok(service.extract, 'the rig must say what can be extracted');
    const { selection, keys, damage } = service.extract;
    const { source } = await captured(ctx, component);
    await using target = await empty();
    const extract = component.extract.bind(component);
    const rows = () => extract(ctx, { base: source }, selection, async () => driver.open(target.settings));
    const kept = await Array.fromAsync(rows());
    assert.deepEqual(kept.map(({ key }) => key).sort(), [...keys].sort());
    assert.ok(component.merge, 'what can be extracted can be put back');
    const merge = component.merge.bind(component);
    const fed = async function* () {
      yield* kept;
    };
    await damage();
    const same = keys.length - 2;
    assert.deepEqual(await merge(ctx, fed(), selection, 'preview'), { missing: 1, different: 1, same, applied: 0 });
    const added = await merge(ctx, fed(), selection, 'missing-only');
    assert.deepEqual(added, { missing: 1, different: 1, same, applied: 1 });
    const replaced = await merge(ctx, fed(), selection, 'overwrite');
    assert.deepEqual(replaced, { missing: 0, different: 1, same: same + 1, applied: 1 });
    await assertEqual(ctx, driver, inventoryOf(source), await component.inventory(ctx));
  });

  behaviour(ABILITIES.stage, async () => {
    const ctx = liveContext();
    await using service = await filled();
    const component = driver.open(service.settings);
    assert.ok(component.stage, 'a driver without it is excepted');
    const { source } = await captured(ctx, component);
    await service.change();
    const changed = await copyOf(ctx, await component.inventory(ctx));
    await using staged = await component.stage(ctx, { base: source }, '2026-01-01-000000');
    await assertEqual(ctx, driver, inventoryOf(source), await staged.component.inventory(ctx));
    await assertEqual(ctx, driver, changed, await component.inventory(ctx));
    const { keptAs } = await staged.publish(ctx, { terminateConnections: true });
    await assertEqual(ctx, driver, inventoryOf(source), await component.inventory(ctx));
    const dropped = (await component.dropOld?.(ctx)) ?? [];
    assert.deepEqual([...dropped].sort(), [...keptAs].sort());
    await assertEqual(ctx, driver, inventoryOf(source), await component.inventory(ctx));
  });
}

/** A sandbox's password must not stand in an argument, where every user of the machine can read it. */
async function sandboxSecret(ctx: Context, driver: Driver, version: string): Promise<string[]> {
  const password = 'canary of the sandbox';
  if (!driver.serverSpec) return [];
  const spec = await driver.serverSpec(ctx, { version, dir: ctx.scratch, port: 1, password });
  for (const { program, args } of [...spec.prepare, spec.run ?? []].flat()) {
    assert.ok(!args.some((arg) => arg.includes(password)), `${program} is given a password as an argument`);
  }
  return [password];
}

async function captured(ctx: Context, component: Component): Promise<{ source: Source; capture: Capture }> {
  const { sink, source } = memoryParts();
  const capture = await component.capture(ctx, sink);
  await sink.receipt(ctx);
  return { source, capture };
}

async function compared(
  ctx: Context,
  driver: Driver,
  expected: InventoryReader,
  actual: InventoryReader,
): Promise<Finding[]> {
  return await Array.fromAsync(driver.compare(ctx, expected, actual));
}

async function assertEqual(
  ctx: Context,
  driver: Driver,
  expected: InventoryReader,
  actual: InventoryReader,
): Promise<void> {
  const findings = await compared(ctx, driver, expected, actual);
  assert.notEqual(findings.length, 0, 'something was compared');
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
  );
}

async function linesOf(ctx: Context, inventory: InventoryReader): Promise<InventoryLine[]> {
  return await Array.fromAsync(inventory.lines(ctx));
}

/** As it is now: an inventory of a live service may be read lazily. */
async function copyOf(ctx: Context, inventory: InventoryReader): Promise<InventoryReader> {
  return inventoryFrom(await linesOf(ctx, inventory));
}

async function partsOf(ctx: Context, source: Source): Promise<Part[]> {
  return await Array.fromAsync(source.parts(ctx));
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isLawful(name: string): boolean {
  const segments = name.split('/');
  return Buffer.byteLength(name) <= 1024 && !segments.some((each) => each === '' || each === '.' || each === '..');
}

async function* cut(body: Bytes, bytes: number): Bytes {
  let left = bytes;
  for await (const chunk of body) {
    yield chunk.subarray(0, left);
    left -= chunk.length;
    if (left <= 0) return;
  }
}
