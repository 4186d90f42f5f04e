// What a server tells of itself.

import { createHash } from 'node:crypto';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Client, connect, refusal } from './client.ts';
import { REFUSED, request } from './protocol.ts';
import type { Host, Settings } from './settings.ts';
import { open } from './wire.ts';

const ANSWER_BYTES_MAX = 64 * 1024;

/** '3.9.5', of the first server that says it. That one command (srvr) is open unless it was closed. */
export async function versionOf(ctx: Context, settings: Settings): Promise<string> {
  await using client = await connect(ctx, settings); // which one answers, and why none does
  const said = await fourLetters(ctx, client.host, settings);
  return /^Zookeeper version: (\d[\w.]*)/m.exec(said)?.[1] ?? 'unknown';
}

/** The answer to one of the commands that are four letters long; '' when it gives none. */
async function fourLetters(ctx: Context, host: Host, settings: Settings): Promise<string> {
  const socket = await open(ctx, host, settings);
  return await new Promise<string>((resolve) => {
    let said = '';
    const end = (): void => {
      socket.destroy();
      resolve(said);
    };
    socket.setTimeout(settings.timeoutMs, end);
    socket.once('error', end).once('close', end);
    socket.on('data', (chunk: Buffer) => {
      said += chunk.toString('latin1');
      if (said.length > ANSWER_BYTES_MAX) end();
    });
    socket.write('srvr');
  });
}

/** An ensemble has no number of its own: its servers name it, or the hosts that lead to it. */
export async function identityOf(client: Client, { hosts, root }: Settings): Promise<string> {
  const reply = await client.ask('getData', request.read('/zookeeper/config'));
  const config = reply.error === 0 ? (reply.body.bytes()?.toString('utf8') ?? '') : '';
  const servers = config.split('\n').filter((line) => /^server\.\d+=/.test(line));
  const names = servers.length > 0 ? servers : hosts.map(({ host, port }) => `${host}:${port}`);
  const hash = createHash('sha256').update(JSON.stringify(names.sort())).digest('hex');
  return `${hash.slice(0, 16)}${root}`;
}

export async function needRoot(ctx: Context, settings: Settings): Promise<void> {
  await using client = await connect(ctx, settings);
  const { error } = await client.ask('exists', request.read(settings.root));
  if (error === REFUSED.noNode) {
    throw new Failure('missing', `${client.where} has no znode ${settings.root}`, {
      hint: 'see root and the chroot in hosts of the component',
    });
  }
  if (error !== 0) throw refusal(client.where, 'exists', settings.root, error);
}
