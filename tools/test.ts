// npm test: installs the real servers that tests need, then runs Node's own test runner over them all, or over the
// files that are named. `--slow` takes those that are slow by nature instead, `--slow --crash` the crash tests alone,
// and for longer.

import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { installed, serverNames } from '../test/servers/install.ts';

const SUITES = {
  quick: { files: ['src/**/*.test.ts', 'test/**/*.test.ts'], timeoutMs: 600_000 },
  slow: { files: ['src/**/*.slow.ts', 'test/**/*.slow.ts'], timeoutMs: 3_600_000 },
};

/** Fifteen minutes, and the result goes into docs/testing.md. */
const LONG_CRASH = { CRASH_SECONDS: '900', CRASH_MOMENTS: '30', CRASH_PAGE: 'docs/testing.md' };

const args = process.argv.slice(2);
const suite = args.includes('--slow') ? SUITES.slow : SUITES.quick;
const isCrash = args.includes('--crash');
const named = args.filter((arg) => !['--slow', '--crash'].includes(arg));
const given = isCrash && named.length === 0 ? ['test/crash/*.slow.ts'] : named;
if (named.length === 0) await installServers();

// Tests wait for servers as much as they compute, so two files at once even on one processor.
const concurrency = Math.max(2, availableParallelism());
// Every file is a process of its own, which gets these flags. Most of them do little but load the program.
const flags = ['--disable-warning=ExperimentalWarning', '--min-semi-space-size=8'];
const runner = spawnSync(
  process.execPath,
  [
    ...flags,
    '--test',
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${suite.timeoutMs}`,
    ...(given.length > 0 ? given : suite.files),
  ],
  { stdio: 'inherit', env: { ...(isCrash ? LONG_CRASH : {}), ...process.env } },
);
process.exitCode = runner.status ?? 1;

/** What can't be had is told here once; the tests that need it are skipped, or fail with REQUIRE_SERVERS=all. */
async function installServers(): Promise<void> {
  for (const name of serverNames) {
    try {
      await installed(name);
    } catch (error) {
      console.error(`without ${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
}
