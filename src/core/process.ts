// Child programs: started without a shell, watched to their end, and never taken for a success that they were not.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { bytesOf } from './bytes.ts';
import { interruption } from './context.ts';
import type { Command } from './driver.ts';
import { Failure, systemCode } from './errors.ts';
import type { Bytes, Context } from './model.ts';
import { outputOf } from './process-output.ts';

/** What is kept of a program's standard error: its end, which names the cause. */
const STDERR_TAIL_BYTES = 16 * 1024;
/** Unless told otherwise. */
const KILL_AFTER_MS = 5_000;
const STDERR_GRACE_MS = 1_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines that it wrote to standard error. */
  readonly stderr: string;
}

export interface Running {
  readonly pid: number;
  /** Its standard output. Reading it to the end does not mean success: await `succeeded()`. */
  readonly stdout: Bytes;
  /** Feeds standard input and closes it; resolves early when the program has closed its side. */
  feed(body: Bytes): Promise<void>;
  ended(): Promise<Ended>;
  /** Resolves when it exited with 0; throws 'program-failed' with the end of its standard error otherwise. */
  succeeded(): Promise<Ended>;
  /**
   * Ends it by its own process group: SIGTERM first, SIGKILL after a while. Resolves when it is gone; what it started
   * and has outlived it is killed then.
   */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface StartOptions {
  /** Ends the program with 'timeout' when it takes longer. */
  readonly deadlineMs?: number;
  /** Called with each whole line of standard error as it comes. */
  readonly onStderr?: (line: string) => void;
  /** Closed unless the caller feeds it. */
  readonly stdin?: 'pipe' | 'ignore';
  /** How long it may take to die politely before it is killed. */
  readonly killAfterMs?: number;
}

/** Starts a program. Aborting the context ends it and all that it started. */
export function start(ctx: Context, command: Command, options: StartOptions = {}): Running {
  ctx.signal.throwIfAborted();
  const child = spawn(command.program, command.args, {
    env: { ...ctx.env, ...command.env },
    cwd: command.cwd,
    ...(command.user ?? {}),
    stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own, so that it dies with its children
  });
  const { stdout, stderr } = child;
  if (!stdout || !stderr) throw new Error('stdio is piped');
  const output = outputOf(stdout);
  const tail = keepTail(stderr, options.onStderr);
  let timedOut = false;
  const timer =
    options.deadlineMs === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          void stop();
        }, options.deadlineMs);

  const onAbort = (): void => void stop();
  ctx.signal.addEventListener('abort', onAbort, { once: true });
  function unwatch(): void {
    clearTimeout(timer);
    ctx.signal.removeEventListener('abort', onAbort);
  }
  const group = groupOf(child);
  const exit = waitForExit(child, command);
  exit.then(
    // A child of its own may hold the output open and be waited for: until that is closed, deadline and abort hold.
    () => (group.lives() && !output.stream.closed ? output.stream.once('close', unwatch) : unwatch()),
    unwatch, // reported to whoever awaits ended()
  );

  async function stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    group.signal(signal);
    const hard = setTimeout(() => group.signal('SIGKILL'), options.killAfterMs ?? KILL_AFTER_MS);
    await exit.catch(() => undefined);
    clearTimeout(hard);
    group.signal('SIGKILL');
    output.leave();
  }

  async function ended(): Promise<Ended> {
    const { code, signal } = await exit;
    return { code, signal, stderr: tail() };
  }

  return {
    pid: child.pid ?? -1,
    stdout: output.chunks,
    feed: (body) => feed(child, body),
    ended,
    stop,
    async succeeded() {
      const end = await ended();
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      if (timedOut) {
        throw new Failure('timeout', `${nameOf(command)}: no end after ${options.deadlineMs} ms${lastWords(end)}`);
      }
      if (end.code === 0) return end;
      const how = end.signal ? `was ended by ${end.signal}` : `exited with ${end.code}`;
      throw new Failure('program-failed', `${nameOf(command)} ${how}${lastWords(end)}`);
    },
  };
}

/** Runs a program whose output is small to its success and returns its standard output. */
export async function run(ctx: Context, command: Command, options: Omit<StartOptions, 'stdin'> = {}): Promise<string> {
  const { stdin } = command;
  const running = start(ctx, command, stdin === undefined ? options : { ...options, stdin: 'pipe' });
  const fed = stdin === undefined ? undefined : running.feed(bytesOf(stdin));
  const output: Uint8Array[] = [];
  for await (const chunk of running.stdout) output.push(Buffer.from(chunk));
  await fed;
  await running.succeeded();
  return Buffer.concat(output).toString('utf8');
}

function nameOf(command: Command): string {
  return command.name ?? command.program.split('/').at(-1) ?? command.program;
}

function lastWords(end: Ended): string {
  const text = end.stderr.trim();
  return text === '' ? '' : `: ${text.split('\n').slice(-8).join('\n')}`;
}

function keepTail(stderr: Readable, onLine?: (line: string) => void): () => string {
  let tail = '';
  let line = '';
  stderr.setEncoding('utf8');
  stderr.on('data', (text: string) => {
    tail = (tail + text).slice(-STDERR_TAIL_BYTES);
    if (!onLine) return;
    const lines = (line + text).split('\n');
    line = (lines.pop() ?? '').slice(-STDERR_TAIL_BYTES);
    for (const each of lines) onLine(each);
  });
  return () => tail;
}

/** Resolves when the program is gone and its standard error is read; its standard output belongs to the reader. */
async function waitForExit(
  child: ChildProcess,
  command: Command,
): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  const stderrEnd = child.stderr ? once(child.stderr, 'close') : Promise.resolve();
  const exit = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', (cause) => {
      if (child.pid === undefined) reject(startFailure(command, cause));
    });
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  // A grandchild may hold the pipe open after its parent is gone.
  await Promise.race([stderrEnd, new Promise((resolve) => setTimeout(resolve, STDERR_GRACE_MS).unref())]);
  return exit;
}

function startFailure(command: Command, cause: unknown): Failure {
  if (systemCode(cause) === 'ENOENT') {
    return new Failure('program-missing', `${command.program}: there is no such program`, { cause });
  }
  if (systemCode(cause) === 'EACCES') {
    // Also the answer when it was found nowhere and a directory of PATH may not be looked into.
    return new Failure('program-missing', `${command.program}: there is no such program that we may run`, { cause });
  }
  return new Failure('program-failed', `${nameOf(command)} could not be started (${systemCode(cause)})`, { cause });
}

async function feed(child: ChildProcess, body: Bytes): Promise<void> {
  const { stdin } = child;
  if (!stdin) throw new Error("feed needs stdin: 'pipe'");
  let closed = false;
  stdin.on('error', () => {
    closed = true; // EPIPE: its exit says why
  });
  for await (const chunk of body) {
    if (closed || stdin.destroyed) return;
    // Chunks are borrowed: the next one is asked for when this one is in the pipe, or nobody reads that any more.
    await new Promise<void>((resolve) => {
      stdin.once('close', resolve);
      stdin.write(chunk, () => {
        stdin.off('close', resolve);
        resolve();
      });
    });
  }
  // Without this, `end` never answers once the program has gone: it had read enough before our body ended.
  if (closed || stdin.destroyed) return;
  await new Promise<void>((resolve) => stdin.once('close', resolve).end(() => resolve()));
}

interface Group {
  signal(signal: NodeJS.Signals): void;
  /** Also when the program itself is gone. */
  lives(): boolean;
}

/** The program and its children. While one of them is there, no other process can get the group's number. */
function groupOf(child: ChildProcess): Group {
  let gone = child.pid === undefined;
  function send(signal: NodeJS.Signals | 0): void {
    if (gone) return;
    try {
      process.kill(-(child.pid ?? 0), signal);
    } catch (error) {
      if (systemCode(error) === 'ESRCH')
        gone = true; // for good: the number may be another's from now on
      else if (systemCode(error) !== 'EPERM') throw error; // it lives as somebody whom we may not signal
    }
  }
  child.once('exit', () => send(0));
  return {
    signal: send,
    lives() {
      send(0);
      return !gone;
    },
  };
}
