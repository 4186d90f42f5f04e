// Writes of a restore: many on their way at a time, each refusal kept with its path, and a server that breaks off
// over one znode that is too large for it is gone back to.

import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Client, connect, refusal } from './client.ts';
import { type Op, wordsFor } from './protocol.ts';
import type { Reply } from './queue.ts';
import type { Settings } from './settings.ts';

/** A server's own limit is 1 MiB less a byte, for a whole request. */
const SAFE_BYTES = 512 * 1024;
const PENDING_MAX = 2000;
const PENDING_BYTES_MAX = 16 * 1024 * 1024;
const NAMED_MAX = 20;

export interface Writer extends AsyncDisposable {
  client(): Client;
  /** Sent after all that was sent before; `done` gets the server's answer. Resolves when more may be sent. */
  send(op: Op, body: Buffer, done: (reply: Reply) => void | Promise<void>): Promise<void>;
  /** Alone, so that nothing else is lost with it. False when the server broke off over it. */
  sendLarge(op: Op, body: Buffer): Promise<Reply | null>;
  /** All answers are there. */
  settled(): Promise<void>;
  /** Notes what could not be brought back. */
  miss(path: string, why: string): void;
  missing(): readonly string[];
}

export function isLarge(body: Buffer): boolean {
  return body.length > SAFE_BYTES;
}

export async function openWriter(ctx: Context, settings: Settings): Promise<Writer> {
  let client = await connect(ctx, settings);
  let pending = 0;
  let pendingBytes = 0;
  let waiting: { readonly goesOn: () => boolean; readonly resolve: () => void } | null = null;
  let failed: { error: unknown } | null = null;
  const missing: string[] = [];
  let unnamed = 0;

  /** Only the one that sends waits. */
  async function until(goesOn: () => boolean): Promise<void> {
    if (!goesOn()) await new Promise<void>((resolve) => (waiting = { goesOn, resolve }));
    waiting = null;
  }
  const isQuiet = (): boolean => pending === 0;
  const hasRoom = (): boolean => pending < PENDING_MAX && pendingBytes < PENDING_BYTES_MAX;
  function answered(bytes: number): void {
    pending -= 1;
    pendingBytes -= bytes;
    if (waiting?.goesOn()) waiting.resolve();
  }
  async function settled(): Promise<void> {
    await until(isQuiet);
    if (failed) throw failed.error;
  }
  return {
    client: () => client,
    async send(op, body, done) {
      if (failed) throw failed.error;
      pending += 1;
      pendingBytes += body.length;
      void client
        .ask(op, body)
        .then(done)
        .catch((error: unknown) => void (failed ??= { error }))
        .finally(() => answered(body.length));
      await until(hasRoom);
    },
    async sendLarge(op, body) {
      await settled();
      try {
        return await client.ask(op, body);
      } catch (error) {
        if (ctx.signal.aborted || !isFailure(error, 'unreachable')) throw error;
        await client[Symbol.asyncDispose]();
        client = await connect(ctx, settings); // when the server itself has gone, this tells
        return null;
      }
    },
    settled,
    miss(path, why) {
      if (missing.length < NAMED_MAX) missing.push(`${path}: ${why}`);
      else unnamed += 1;
    },
    missing: () => (unnamed === 0 ? missing : [...missing, `and ${unnamed} more znodes`]),
    async [Symbol.asyncDispose]() {
      await until(isQuiet);
      await client[Symbol.asyncDispose]();
    },
  };
}

/** A refusal of one znode; what concerns all of them is thrown. */
export function refusedWords(client: Client, op: Op, path: string, error: number): string {
  if (error === -112 || error === -118 || error === -4 || error === -119) throw refusal(client.where, op, path, error);
  return wordsFor(error);
}

export function tooLarge(bytes: number): string {
  return `${bytes} bytes are more than the server takes (jute.maxbuffer)`;
}

export function notEmpty(where: string, held: string): Failure {
  return new Failure('target-not-empty', `${where} holds data: ${held}`, {
    hint: 'restore under another root (--rename), or in place: restore --in-place',
  });
}
