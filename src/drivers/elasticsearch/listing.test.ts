import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lawful, matcher } from './listing.ts';
import { readSettings, retarget } from './settings.ts';

test('patterns mean what they say, and the servers’ own indices only when a pattern with a dot names them', () => {
  const names = ['orders', 'orders-2', 'a+b', '.kibana_1', '.ds-logs-1'];
  const meant = (...patterns: string[]): string[] => names.filter(matcher(patterns));
  assert.deepEqual(meant('*'), ['orders', 'orders-2', 'a+b']);
  assert.deepEqual(meant('orders*', '-*-2'), ['orders']);
  assert.deepEqual(meant('-orders'), ['orders-2', 'a+b']);
  assert.deepEqual(meant('-*', 'orders'), ['orders']);
  assert.deepEqual(meant('.kibana*'), ['.kibana_1']);
  assert.deepEqual(meant('*', '.*'), names);
  assert.deepEqual(meant('a+b', 'ord.rs'), ['a+b']);
  assert.deepEqual(meant('-*'), []);
});

test('a name that could lead out of its folder is no name of an index', () => {
  for (const name of ['', '.', '..', 'a/b', '../a', 'a\\b', 'a\0', 'x'.repeat(256)]) {
    assert.throws(() => lawful(name), { code: 'malformed' }, name);
  }
  for (const name of ['a', '...', '.ds-logs-000001', 'größe', 'a:b$1']) assert.equal(lawful(name), name);
});

test('settings that contradict each other are refused, and secrets of the URL leave it', () => {
  const wrong: [object, RegExp][] = [
    [{ url: 'ftp://host' }, /url/],
    [{ url: 'http://host:9200', username: 'u', api_key: 'k' }, /api_key/],
    [{ url: 'http://host:9200', method: 'snapshot' }, /repository/],
    [{ url: 'http://host:9200', indices: [] }, /indices/],
  ];
  for (const [settings, message] of wrong) {
    assert.throws(() => readSettings(settings), { code: 'settings-invalid', message });
  }
  const { url, username, password } = readSettings({ url: 'https://u:p%40ss@host:9200/search' });
  assert.deepEqual([url.href, username, password], ['https://host:9200/search', 'u', 'p@ss']);
});

test('the same component at another place keeps who we are, unless the place says otherwise', () => {
  const settings = { url: 'http://a:9200', username: 'u', password: 'p', indices: ['x'] };
  assert.deepEqual(retarget(settings, 'http://b:9200/'), { ...settings, url: 'http://b:9200/' });
  assert.deepEqual(retarget(settings, 'b:9200'), { ...settings, url: 'http://b:9200/' });
  assert.deepEqual(retarget(settings, 'http://v:q@b:9200/'), { indices: ['x'], url: 'http://v:q@b:9200/' });
  assert.throws(() => retarget(settings, 'http://'), { code: 'usage' });
});
