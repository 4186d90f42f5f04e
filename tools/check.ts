// npm run check: all that can be said about the code without running the product, in under a minute. Every check
// runs, whatever the ones before it found.

import { spawn } from 'node:child_process';

const CHECKS = [
  { name: 'types', program: 'tsc', args: ['--noEmit', '-p', '.'] },
  { name: 'style', program: 'biome', args: ['check', '--error-on-warnings', '.'] },
  { name: 'dead code', program: 'knip', args: ['--no-progress'] },
  { name: 'tidiness', program: 'node', args: ['--test', '--test-reporter=dot', 'test/tidy.test.ts'] },
];

let failed = 0;
for (const check of CHECKS) {
  const begun = performance.now();
  const { status, output } = await run(check.program, check.args);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  if (status !== 0) {
    failed += 1;
    console.log(output.trimEnd());
  }
  console.log(`${status === 0 ? '✔' : '✖'} ${check.name} (${seconds} s)`);
}
console.log(`ℹ pass ${CHECKS.length - failed}\nℹ fail ${failed}`);
process.exitCode = failed === 0 ? 0 : 1;

/** tools/run.mjs has put the packaged Node and node_modules/.bin first in PATH. */
function run(program: string, args: string[]): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (text) => (output += text));
    child.stderr.on('data', (text) => (output += text));
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, output }));
  });
}
