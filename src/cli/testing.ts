// Commands run within a test's own process, on a stack that needs no server: one folder of files in two stores.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import type { Context } from '../core/model.ts';
import { liveContext } from '../core/testing.ts';
import { loadConfig } from './config/load.ts';
import type { Config } from './config/model.ts';
import { type Action, type CommandModule, errorJson, exitCodeOf, type Session } from './session.ts';

export interface Told {
  readonly exit: number;
  /** What --json would print, a failure included. */
  readonly json: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly notes: string;
  readonly failure: string;
}

/** A session without a terminal, and what it was told. */
export function newSession(
  ctx: Context,
  file = 'lifeboat.yaml',
): { session: Session; told: Pick<Told, 'json' | 'text' | 'notes'> } {
  const told = { json: {}, text: '', notes: '' };
  let loaded: Promise<Config> | undefined;
  const session: Session = {
    ctx,
    globals: { json: false, logLevel: 'warn', config: file },
    interactive: false,
    config: () => (loaded ??= loadConfig(ctx, file)),
    print(json, text) {
      told.json = json;
      told.text = typeof text === 'string' ? text : text();
    },
    tell: (_, text) => void (told.notes += `${text}\n`),
    note: (text) => void (told.notes += `${text}\n`),
  };
  return { session, told };
}

/** Runs one command as main.ts would, with `file` as its configuration. */
async function command(file: string, name: string, args: readonly string[], aheadMs: number): Promise<Told> {
  const { session, told } = newSession(liveContext({ now: () => new Date(Date.now() + aheadMs) }), file);
  const module = (await import(`./commands/${name}.ts`)) as CommandModule;
  const root = new Command().exitOverride().configureOutput({ outputError: () => undefined });
  const own = root.command(name).exitOverride().copyInheritedSettings(root);
  let exit = 0;
  module.define(own, (target, action) => {
    target.copyInheritedSettings(root).action(async () => {
      exit = await (action as Action<unknown>)(session, target.opts(), target.args);
    });
  });
  try {
    await root.parseAsync([name, ...args], { from: 'user' });
    return { ...told, exit, failure: '' };
  } catch (error) {
    const { error: failure } = errorJson(error);
    const json = { ...told.json, error: failure };
    const usage = error instanceof CommanderError;
    return { ...told, json, exit: usage ? 2 : exitCodeOf(error), failure: `${failure.message}\n${failure.hint ?? ''}` };
  }
}

export interface FilesStack extends Disposable {
  readonly dir: string;
  readonly file: string;
  run(name: string, ...args: string[]): Promise<Told>;
  /** By a clock that is so far ahead. */
  runAhead(aheadMs: number, name: string, ...args: string[]): Promise<Told>;
}

/** Its two stores are made, and 'one' (restic) and 'two' (plain) hold one point of the component 'docs'. */
export async function filesStack(more = ''): Promise<FilesStack> {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-files-'));
  const file = join(dir, 'lifeboat.yaml');
  mkdirSync(join(dir, 'data'));
  writeFileSync(join(dir, 'data', 'a.txt'), 'a');
  writeFileSync(join(dir, 'one.password'), 'hush');
  const text = `stack: a
stores:
  one: { format: restic, bucket: ${dir}/one, password: "\${file:${dir}/one.password}" }
  two: { format: plain, layout: dated, bucket: ${dir}/two }
components:
  docs: { kind: files, paths: [${dir}/data] }
${more}`;
  writeFileSync(file, text);
  const runAhead: FilesStack['runAhead'] = (aheadMs, name, ...args) => command(file, name, args, aheadMs);
  const run: FilesStack['run'] = (name, ...args) => runAhead(0, name, ...args);
  for (const name of ['init', 'backup']) {
    const { exit, failure } = await run(name);
    if (exit !== 0) throw new Error(`${name}: ${failure}`);
  }
  return { dir, file, run, runAhead, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

/** A store of a configuration that lies with a host which refuses everything, and how often that was asked. */
export async function refusedStore(): Promise<AsyncDisposable & { readonly yaml: string; calls(): number }> {
  let calls = 0;
  const host = createServer((_request, response) => {
    calls += 1;
    response.writeHead(403).end();
  });
  await new Promise<void>((done) => host.listen(0, '127.0.0.1', done));
  const { port } = host.address() as AddressInfo;
  return {
    yaml: `{ format: plain, bucket: s3://b/p, endpoint: "http://127.0.0.1:${port}", access_key: a, secret_key: b }`,
    calls: () => calls,
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}
