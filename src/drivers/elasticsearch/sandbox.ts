// A throw-away node that a point is restored into.

import { access, constants, realpath } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import type { SandboxNeed, ServerSpec } from '../../core/driver.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { run } from '../../core/process.ts';

const VERSION_MS = 60_000;

export async function serverSpec(ctx: Context, { version, dir, port }: SandboxNeed): Promise<ServerSpec> {
  const [kind = '', number = ''] = version.split(' ');
  const program = await programFor(ctx, kind, number);
  const config = join(dir, 'config');
  const lines = [
    'cluster.name: lifeboat-sandbox',
    'network.host: 127.0.0.1',
    `http.port: ${port}`,
    // Found by nobody: it is a cluster of its own.
    'discovery.type: single-node',
    'transport.port: 0',
    `path.data: ${JSON.stringify(join(dir, 'data'))}`,
    `path.logs: ${JSON.stringify(join(dir, 'logs'))}`,
    'cluster.routing.allocation.disk.threshold_enabled: false',
    ...(await openly(program, kind)),
  ];
  const prefix = kind === 'opensearch' ? 'OPENSEARCH' : 'ES';
  const env = { [`${prefix}_PATH_CONF`]: config, [`${prefix}_JAVA_OPTS`]: '-Xms512m -Xmx1g' };
  return {
    files: [
      { path: join(config, `${kind}.yml`), content: `${lines.join('\n')}\n`, mode: 0o600 },
      ...(await copiedFiles(program, config)),
    ],
    prepare: [],
    run: { program, args: [], cwd: dir, env },
    settings: { url: `http://127.0.0.1:${port}` },
    unprivileged: true,
    stopSignal: 'SIGTERM',
  };
}

/** Nobody but this machine gets to it, so that it needs neither users nor certificates. */
async function openly(program: string, kind: string): Promise<string[]> {
  if (kind === 'elasticsearch') return ['xpack.security.enabled: false', 'xpack.ml.enabled: false'];
  const plugin = join(dirname(dirname(await realpath(program))), 'plugins/opensearch-security');
  return (await isThere(plugin)) ? ['plugins.security.disabled: true'] : [];
}

/** The start script wants these beside the configuration. */
async function copiedFiles(program: string, config: string): Promise<ServerSpec['files'][number][]> {
  const home = join(dirname(dirname(await realpath(program))), 'config');
  const content = '-XX:+UseSerialGC\n';
  if (!(await isThere(join(home, 'jvm.options')))) return [];
  const log = 'rootLogger.level = warn\n';
  return [
    { path: join(config, 'jvm.options'), content, mode: 0o600 },
    { path: join(config, 'log4j2.properties'), content: log, mode: 0o600 },
  ];
}

/** Of the same major in PATH: of the same release if there is one. */
async function programFor(ctx: Context, kind: string, number: string): Promise<string> {
  const found: { program: string; same: boolean }[] = [];
  for (const dir of (ctx.env.PATH ?? '').split(delimiter)) {
    const program = join(dir, kind);
    if (dir === '' || kind === '' || !(await isThere(program, constants.X_OK))) continue;
    const there = await versionOf(ctx, program);
    if (there?.split('.')[0] === number.split('.')[0]) found.push({ program, same: there === number });
  }
  const best = found.find(({ same }) => same) ?? found[0];
  if (best) return best.program;
  throw new Failure('program-missing', `no ${kind || 'server'} ${number} in PATH`, {
    hint: `install ${kind} ${number.split('.')[0]}.x on this machine and put its bin directory into PATH`,
  });
}

/** 'Version: 2.19.1, Build: …' */
async function versionOf(ctx: Context, program: string): Promise<string | null> {
  try {
    const said = await run(ctx, { program, args: ['--version'] }, { deadlineMs: VERSION_MS });
    return /Version: (\d[\d.]*)/.exec(said)?.[1] ?? null;
  } catch (error) {
    if (isFailure(error, 'program-failed') || isFailure(error, 'timeout')) return null; // it can't run here
    throw error;
  }
}

async function isThere(path: string, mode: number = constants.F_OK): Promise<boolean> {
  return await access(path, mode).then(
    () => true,
    () => false, // not there, or not for us
  );
}
