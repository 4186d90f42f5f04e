// Stands between a client and a server, and does what networks do: it cuts, and it is away.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { host } from './processes.ts';

export interface CuttingProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections that were let through, since the beginning. */
  readonly connections: number;
  /** Breaks all connections there are. */
  cut(): void;
  /** Lets nobody through until told otherwise. */
  away(isAway: boolean): void;
  /** Another server from the next connection on. */
  lead(port: number): void;
}

export async function startCuttingProxy(target: number): Promise<CuttingProxy> {
  const sockets = new Set<Socket>();
  let [to, isAway, connections] = [target, false, 0];
  const server = createServer((client) => {
    if (isAway) {
      client.resetAndDestroy();
      return;
    }
    connections += 1;
    const upstream = connect({ host, port: to });
    for (const [from, into] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('error', () => into.destroy());
      from.on('close', () => {
        sockets.delete(from);
        into.destroy();
      });
      from.pipe(into);
    }
  });
  server.listen(0, host);
  await once(server, 'listening');
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    cut,
    away(now) {
      isAway = now;
      if (now) cut();
    },
    lead(port) {
      to = port;
      cut();
    },
    async [Symbol.asyncDispose]() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
