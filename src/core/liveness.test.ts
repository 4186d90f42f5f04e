import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { endLeftover, identityOf, stateOf } from './liveness.ts';
import { liveContext } from './testing.ts';

const here = await identityOf(process.pid);
const skip = here === null ? 'this system has no /proc' : false;

test('a process is alive, and another one with its number is not it', { skip }, async () => {
  assert.ok(here);
  assert.equal(await stateOf(here), 'alive');
  assert.equal(await stateOf({ ...here, start: '1' }), 'dead');
  assert.equal(await stateOf({ ...here, boot: 'another' }), 'dead');
});

test('a process of another host or container is not judged', { skip }, async () => {
  assert.ok(here);
  assert.equal(await stateOf({ ...here, host: 'elsewhere', start: '1' }), 'unknown');
  assert.equal(await stateOf({ ...here, namespace: 'pid:[1]', start: '1' }), 'unknown');
});

test('a process of an earlier boot is dead, one that was alive since this boot runs on a clone of the host', {
  skip,
}, async () => {
  assert.ok(here);
  const other = { ...here, boot: 'another' };
  assert.equal(await stateOf(other, new Date(0)), 'dead');
  assert.equal(await stateOf(other, new Date()), 'unknown');
});

test('a leftover is ended with its children, an innocent one with its number is not', { skip }, async () => {
  const script = "require('node:child_process').spawn('sleep', ['60'], { stdio: 'inherit' }); console.log('up')";
  const child = spawn(process.execPath, ['-e', `${script}; setTimeout(() => {}, 60_000)`]);
  await once(child.stdout, 'data');
  const identity = await identityOf(child.pid ?? 0);
  assert.ok(identity);
  assert.equal(
    await endLeftover(liveContext(), { ...identity, start: '1' }),
    true,
    'that one is gone, whoever has its number now',
  );
  assert.equal(await stateOf(identity), 'alive');
  // Its output ends only when the grandchild, which holds it too, is gone as well.
  const ended = once(child, 'close');
  assert.equal(await endLeftover(liveContext(), identity), true);
  await ended;
  assert.equal(await stateOf(identity), 'dead');
});
