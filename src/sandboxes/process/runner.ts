// Sandboxes as plain processes of this machine: a server in a fresh private directory, on a free port of 127.0.0.1.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import type { Component } from '../../core/component.ts';
import { interruption, withSignal } from '../../core/context.ts';
import type { Command, Driver, Sandbox, SandboxNeed, SandboxRunner, ServerSpec } from '../../core/driver.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { onFreePort } from '../../core/ports.ts';
import { type Running, run, start } from '../../core/process.ts';
import { removeLeftovers, SANDBOX_PREFIX, writeOwner } from './leftovers.ts';

const POLL_MS = 50;
const PREPARE_MS = 120_000;
/** A server that is started on what was restored may have a log to go through first. */
const RECOVER_MS_MAX = 3_600_000;
/** Best first. What is restored may be hostile, and the last one owns the live data of a database's host. */
const USERS = ['lifeboat', 'nobody', 'postgres'] as const;

export interface ProcessSandboxOptions {
  /** Where sandboxes lie; the system's directory for temporary files unless told otherwise. */
  readonly parent?: string;
  /** How long a server may take until it answers. */
  readonly readyMs?: number;
}
type User = NonNullable<Command['user']>;

export function processSandboxes({ parent = tmpdir(), readyMs = 60_000 }: ProcessSandboxOptions = {}): SandboxRunner {
  return {
    name: 'process',
    async start(ctx, driver, version, settings, method) {
      await removeLeftovers(ctx, parent);
      const need = { version, settings, method };
      return await onFreePort((port) => startOnce(ctx, driver, { parent, readyMs, need: { ...need, port } }));
    },
  };
}

async function startOnce(
  ctx: Context,
  driver: Driver,
  { parent, readyMs, need: asked }: Required<ProcessSandboxOptions> & { need: Omit<SandboxNeed, 'dir' | 'password'> },
): Promise<Sandbox> {
  const { serverSpec } = driver;
  if (!serverSpec) throw new Failure('program-missing', `${driver.kind} has nothing that a sandbox could run`);
  await using undo = new AsyncDisposableStack();
  // The outer directory stays ours and is open to pass through; the server owns the inner one only.
  const home = await mkdtemp(join(parent, SANDBOX_PREFIX));
  undo.defer(() => rm(home, { recursive: true, force: true, maxRetries: 3 }));
  await writeOwner(home, null);
  await chmod(home, 0o711);
  const dir = join(home, 'server');
  await mkdir(dir, { mode: 0o700 });
  const need: SandboxNeed = { ...asked, dir, password: randomBytes(24).toString('base64url') };
  const spec = await serverSpec(ctx, need);
  const user = spec.unprivileged ? await unprivilegedUser() : null;
  if (user) {
    await refuseUnreachable(home, user);
    await chown(dir, user.uid, user.gid);
  }
  await writeFiles(spec, dir, user);
  const place = { driver, home, dir, user, readyMs };
  if (spec.restoreTo === undefined) {
    const component = await launch(ctx, spec, { ...place, owned: undo, prepareMs: PREPARE_MS });
    const owned = undo.move();
    return { component, dir, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  }
  const owned = undo.move();
  const serve = (serveCtx: Context): Promise<Component> =>
    onFreePort(async (port) => {
      const later = await serverSpec(serveCtx, { ...need, port });
      return await launch(serveCtx, later, { ...place, owned, prepareMs: RECOVER_MS_MAX });
    });
  return { component: driver.open(spec.restoreTo), dir, serve, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Launch {
  readonly driver: Driver;
  readonly home: string;
  readonly dir: string;
  readonly user: User | null;
  /** Ends the server. */
  readonly owned: AsyncDisposableStack;
  readonly prepareMs: number;
  readonly readyMs: number;
}

/** Prepares and starts the server, where there is one to run, and waits until it answers. */
async function launch(
  ctx: Context,
  spec: ServerSpec,
  { driver, home, dir, user, owned, prepareMs, readyMs }: Launch,
): Promise<Component> {
  for (const command of spec.prepare) await run(ctx, placed(command, dir, user), { deadlineMs: prepareMs });
  const component = driver.open(spec.settings);
  if (!spec.run) return component;
  const running = start(ctx, placed(spec.run, dir, user));
  owned.defer(() => running.stop(spec.stopSignal));
  await writeOwner(home, running.pid);
  void discard(running);
  await untilReady(ctx, driver, { component, running, readyMs });
  return component;
}

/** Polls the component; ends early, with the server's last words, when that dies. */
async function untilReady(
  ctx: Context,
  driver: Driver,
  { component, running, readyMs }: { component: Component; running: Running; readyMs: number },
): Promise<void> {
  const what = `the sandbox for ${driver.kind}`;
  const died = new AbortController();
  void running.succeeded().then(
    () => died.abort(new Failure('program-failed', `${what} ended before it answered`)),
    (error: unknown) => died.abort(error),
  );
  const watched = withSignal(ctx, died.signal);
  const deadline = ctx.monotonicMs() + readyMs;
  for (;;) {
    try {
      await component.probe(watched);
      return;
    } catch (cause) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      if (died.signal.aborted) throw died.signal.reason;
      if (ctx.monotonicMs() > deadline) {
        throw new Failure('timeout', `${what} gave no answer in ${readyMs} ms: ${messageOf(cause)}`, { cause });
      }
    }
    await ctx.sleep(POLL_MS);
  }
}

/** A server that runs as somebody else would only say that it can't open its own files. */
async function refuseUnreachable(home: string, user: User): Promise<void> {
  for (let path = home; ; path = dirname(path)) {
    const { mode, uid, gid } = await stat(path);
    const may = uid === user.uid ? mode >> 6 : gid === user.gid ? mode >> 3 : mode;
    if ((may & 1) === 0) {
      throw new Failure('denied', `a sandbox does not run as root, and user ${user.uid} may not pass through ${path}`, {
        hint: 'set TMPDIR to a directory that everybody may pass through, such as /tmp',
      });
    }
    if (path === dirname(path)) return;
  }
}

function placed(command: Command, dir: string, user: User | null): Command {
  return { cwd: dir, ...command, ...(user ? { user } : {}) };
}

async function writeFiles(spec: ServerSpec, dir: string, user: User | null): Promise<void> {
  for (const { path, content, mode } of spec.files) {
    const file = resolve(dir, path);
    const inside = relative(dir, file);
    assert(inside !== '' && !isAbsolute(inside) && !inside.startsWith('..'), 'a sandbox writes within its directory');
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content, { mode });
    if (user) await chown(file, user.uid, user.gid);
  }
}

/** What it prints is of no use, but a full pipe would stop it. */
async function discard(running: Running): Promise<void> {
  for await (const _ of running.stdout);
}

/** For servers that refuse to run as root. Null when we are not root ourselves. */
async function unprivilegedUser(): Promise<User | null> {
  if (process.getuid?.() !== 0) return null;
  const user = sandboxUserIn(await readFile('/etc/passwd', 'utf8'));
  if (user) return user;
  throw new Failure('program-missing', `a sandbox must not run as root, and there is no user ${USERS.join(' or ')}`, {
    hint: 'run Lifeboat as another user, or create the user lifeboat',
  });
}

/** The best user for sandboxes; null when there is none. */
export function sandboxUserIn(passwd: string): User | null {
  const users = passwd.split('\n').map((line) => line.split(':'));
  for (const name of USERS) {
    const [, , uid, gid] = users.find(([each]) => each === name) ?? [];
    if (uid && gid && uid !== '0') return { uid: Number(uid), gid: Number(gid) };
  }
  return null;
}
