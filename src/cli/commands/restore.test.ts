import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hintToGoOn } from './restore.ts';

test('a restore that broke off goes on by a command that names what is left, and no password', () => {
  const session = { globals: { json: false, logLevel: 'warn', config: 'my shop.yaml' } } as const;
  const options = {
    to: [`main-db=postgresql://me:hush@staging/shop`, 'files=/srv/files', `cache=redis://:\${env:PASSWORD}@staging`],
    store: ['offsite'],
    jobs: '2',
    terminateConnections: true,
    yes: true,
  } as const;
  const hint = hintToGoOn(session, options, '2026-11-21-020000', ['main-db', 'cache']);
  const words = [
    "lifeboat --config 'my shop.yaml' restore 2026-11-21-020000 --in-place --only main-db,cache",
    `--to main-db=postgresql://me@staging/shop --to 'cache=redis://:\${env:PASSWORD}@staging'`,
    '--store offsite --jobs 2 --terminate-connections --yes',
  ];
  assert.equal(hint, `what has come back so far stays; go on with: ${words.join(' ')}`);
  assert.match(hintToGoOn(session, { select: ['table=orders'] }, '2026-11-21-020000', ['main-db']), /^remove what/);
});
