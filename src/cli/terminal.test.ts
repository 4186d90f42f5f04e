import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesText, countText, durationText, fieldsText, plural, printableLines, table } from './terminal.ts';

test('sizes, times and counts read well', () => {
  assert.deepEqual([0, 1023, 1024, 5_000_000, 3 * 2 ** 40].map(bytesText), [
    '0 B',
    '1023 B',
    '1.0 KiB',
    '4.8 MiB',
    '3.0 TiB',
  ]);
  const times = [20, 1500, 61_000, 3_600_000, 90_000_000].map(durationText);
  assert.deepEqual(times, ['20 ms', '1.5 s', '1 min 1 s', '1 h', '1 d 1 h']);
  assert.equal(countText(1234567), '1 234 567');
  assert.deepEqual([plural(1, 'point'), plural(2000, 'point')], ['1 point', '2 000 points']);
});

test('a field of the log without a value is not told', () => {
  const fields = { component: 'main-db', reason: 'no server', hint: undefined, again_in_ms: 1000 };
  assert.equal(fieldsText(fields), ' component=main-db reason="no server" again_in_ms=1000');
});

test('a hostile name cannot move the cursor', () => {
  const text = table([{ title: 'name' }], [['evil\u001b[2J\u009b1A\rname']]);
  assert.equal(text, 'name\nevil\\u001b[2J\\u009b1A\\u000dname');
  assert.equal(printableLines('two\n\tlines\r\u001b[A'), 'two\n\tlines\\u000d\\u001b[A');
  const json = JSON.stringify({ name: 'evil\u001b\u009b\n' });
  assert.deepEqual(JSON.parse(printableLines(json)), JSON.parse(json));
});
