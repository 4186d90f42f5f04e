// Stands between a client and a server on this machine, and lets nothing through when it is told to.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Way extends AsyncDisposable {
  readonly port: number;
  /** Breaks all connections off. */
  cut(): void;
  /** The same, and each new one too. */
  close(): void;
  open(): void;
}

export async function startWay(port: number): Promise<Way> {
  const sockets = new Set<Socket>();
  let isOpen = true;
  const server = createServer((client) => {
    if (!isOpen) return void client.destroy();
    const upstream = connect(port, '127.0.0.1');
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy()).on('close', () => sockets.delete(socket) && other.destroy());
      socket.pipe(other);
    }
  });
  const cut = (): void => sockets.forEach((socket) => void socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    close() {
      isOpen = false;
      cut();
    },
    open: () => void (isOpen = true),
    async [Symbol.asyncDispose]() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
