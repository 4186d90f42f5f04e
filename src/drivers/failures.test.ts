import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import { test } from 'node:test';
import { isFailure } from '../core/errors.ts';
import { attempt } from './failures.ts';

test('a disk that fails is told as that, by the name of the file: it is no defect of ours', () => {
  const fd = openSync('/proc/self/mem', 'r'); // nothing is mapped at its start
  try {
    assert.throws(
      () => attempt('/data/a', () => readSync(fd, Buffer.alloc(1), 0, 1, 0)),
      (error) => isFailure(error, 'disk-failed') && /^\/data\/a can't be read or written: EIO/.test(error.message),
    );
  } finally {
    closeSync(fd);
  }
});
