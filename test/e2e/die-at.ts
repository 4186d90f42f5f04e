// Preloaded into the command (`node --import`): dies by SIGKILL in the place of the change to files below DIE_BELOW
// that DIE_AT counts, so that a test can kill it before each of them.

import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const below = `${process.env.DIE_BELOW}/`;
const dieAt = Number(process.env.DIE_AT);
let changes = 0;

function dying<A extends readonly unknown[], R>(
  work: (...args: A) => R,
  target: (args: A) => unknown,
): (...args: A) => R {
  return (...args) => {
    if (String(target(args)).startsWith(below) && changes++ === dieAt) process.kill(process.pid, 'SIGKILL');
    return work(...args);
  };
}

fs.rename = dying(fs.rename, ([, to]) => to);
fs.link = dying(fs.link, ([, to]) => to);
fs.unlink = dying(fs.unlink, ([path]) => path);
syncBuiltinESMExports();
