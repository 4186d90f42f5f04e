// A connection to a server, as far as every protocol begins it: connected, encrypted where that is asked for, in time.

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { interruption } from './context.ts';
import { Failure, systemCode } from './errors.ts';
import type { Context } from './model.ts';

export const UNREACHABLE_HINT =
  'see that it runs, and that the component names its host, its port, and tls where it speaks that';

export interface Connecting {
  /** 'redis at host:port', for messages. */
  readonly where: string;
  readonly timeoutMs: number;
}

/** Waits until it is connected. Afterwards nobody listens to it, and it waits for nothing. */
export async function whenConnected(ctx: Context, socket: Socket, { where, timeoutMs }: Connecting): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const fail = (failure: Failure): void => {
      ctx.signal.removeEventListener('abort', onAbort);
      socket.destroy();
      reject(failure);
    };
    const onAbort = (): void => fail(interruption(ctx.signal));
    if (ctx.signal.aborted) onAbort();
    ctx.signal.addEventListener('abort', onAbort, { once: true });
    socket.setTimeout(timeoutMs, () => fail(new Failure('unreachable', `${where}: no answer in ${timeoutMs} ms`)));
    socket.on('error', (cause) => fail(noConnection(where, cause)));
    socket.once(socket instanceof TLSSocket ? 'secureConnect' : 'connect', () => {
      ctx.signal.removeEventListener('abort', onAbort);
      socket.removeAllListeners();
      socket.setTimeout(0);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 15_000);
      resolve();
    });
  });
}

/** What went wrong with a socket, also later. */
export function noConnection(where: string, cause: Error): Failure {
  const code = systemCode(cause);
  if (!/CERT|SSL|TLS|ALTNAME/.test(code)) {
    return new Failure('unreachable', `${where}: no connection (${code})`, { cause, hint: UNREACHABLE_HINT });
  }
  const hint = 'tls: { ca_file: … } names the certificates to trust; a server without TLS needs tls: false';
  return new Failure('unreachable', `${where}: the encrypted connection failed (${code})`, { cause, hint });
}
