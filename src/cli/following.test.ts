import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Failure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import type { FollowView } from '../engine/follow-views.ts';
import { followedJson, followedText, showFollowing } from './following.ts';
import { newSession } from './testing.ts';

const NOW = '2026-06-01T12:00:10.000Z';
const VIEW: FollowView = {
  component: 'main-db',
  state: 'following',
  error: null,
  takesPoint: false,
  durable: { position: '00ab', at: '2026-06-01T12:00:07.250Z' },
  cameAt: '2026-06-01T12:00:08.000Z',
  bytes: 3 * 2 ** 20,
  ranges: 12,
  copies: [{ store: 'offsite', error: null, behind: false }],
};

test('without a terminal a line is told when something changes, and else now and then', () => {
  let nowMs = 0;
  const ctx = testContext({ now: () => new Date(NOW), monotonicMs: () => nowMs });
  const { session, told } = newSession(ctx);
  using following = showFollowing(session);
  following.told(VIEW);
  for (nowMs = 0; nowMs < 59_000; nowMs += 300) following.told({ ...VIEW, ranges: nowMs });
  const first = 'main-db: 3.0 MiB in 12 ranges, stored up to 2026-06-01 12:00:07Z, 2.0 s ago\n';
  assert.equal(told.notes, first);
  const away = new Failure('unreachable', 'no server');
  following.told({ ...VIEW, state: 'waiting', error: away });
  following.told({ ...VIEW, copies: [{ store: 'offsite', error: away, behind: true }] });
  following.told({ ...VIEW, copies: [{ store: 'offsite', error: null, behind: true }] });
  const lines = told.notes.slice(first.length).trim().split('\n');
  assert.deepEqual(
    lines.map((line) => line.replace(/.* ago/, '')),
    [', waits: no server', ', store offsite is behind: no server', ', store offsite catches up'],
  );
  nowMs += 61_000;
  following.told(VIEW);
  assert.equal(told.notes.trim().split('\n').length, 5);
});

test('events say up to where all is stored', () => {
  const ctx = testContext({ now: () => new Date(NOW) });
  using following = showFollowing(newSession(ctx).session);
  following.told(VIEW);
  const note = 'stored up to 2026-06-01 12:00:07Z, 2.0 s ago';
  const { durable: upTo, bytes, ranges: items } = VIEW;
  assert.deepEqual(ctx.events, [{ task: 'main-db', phase: 'follow', bytes, items, upTo, note }]);
});

test('at the end each component is told, with why it ended by itself and what to do', () => {
  const error = new Failure('locked', 'process 7 works on this journal', { hint: 'stop one of the two' });
  const followed = [{ component: 'main-db', error, view: { ...VIEW, state: 'ended' as const, durable: null } }];
  const text = followedText(testContext(), followed);
  assert.match(text, /nothing stored yet, ENDED: process 7 works on this journal\n {2}stop one of the two$/);
  const { components } = followedJson(followed) as {
    components: { name: string; stores_behind: string[]; error: object }[];
  };
  const [only] = components;
  assert.deepEqual([only?.name, only?.stores_behind], ['main-db', []]);
  assert.match(JSON.stringify(only?.error), /"code":"locked"/);
});
