// Runs a TypeScript file of this project on Node 24, whatever Node started it: installs the packages first when
// they are missing or older than the lock file, then hands over to the packaged Node.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const stamp = join(root, 'node_modules/.package-lock.json');
const lock = join(root, 'package-lock.json');

if (!existsSync(stamp) || statSync(stamp).mtimeMs < statSync(lock).mtimeMs) {
  console.error('installing packages (once)');
  // The versions of the lock file, which stays as it is. `npm ci` would refuse a registry that lacks the packages of
  // other platforms, as mirrors do.
  const install = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'];
  const npm = spawnSync('npm', install, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  if (npm.status !== 0) process.exit(npm.status ?? 1);
}
const node = packagedNode();
const [script, ...args] = process.argv.slice(2);
const env = {
  ...process.env,
  PATH: `${dirname(node)}:${join(root, 'node_modules/.bin')}:${process.env.PATH}`,
  // As bin/lifeboat does: each test file is a process that would compile all of the program anew.
  NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, 'node_modules/.cache/lifeboat'),
};
const child = spawnSync(node, ['--disable-warning=ExperimentalWarning', script, ...args], {
  cwd: root,
  stdio: 'inherit',
  env,
});
process.exit(child.status ?? 1);

function packagedNode() {
  const packaged = join(root, `node_modules/node-${process.platform}-${process.arch}/bin/node`);
  if (existsSync(packaged)) return packaged;
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  console.error(
    `Lifeboat needs Node 24 and found no packaged one for ${process.platform}-${process.arch}: install Node 24`,
  );
  process.exit(20);
}
