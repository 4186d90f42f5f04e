// Ports of this machine's own address, for servers that we start.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { messageOf } from './errors.ts';

export const LOOPBACK = '127.0.0.1';
const ATTEMPTS = 5;

/**
 * Between our look for a free port and the server's own, somebody else may take it: then it begins with another one.
 * `first` is tried before all others.
 */
export async function onFreePort<T>(begin: (port: number) => Promise<T>, first?: number): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await begin(attempt === 1 && first !== undefined ? first : await freePort());
    } catch (error) {
      if (attempt === ATTEMPTS || !/address already in use|could not bind/i.test(messageOf(error))) throw error;
    }
  }
}

async function freePort(): Promise<number> {
  await using server = createServer();
  await new Promise<void>((done, failed) => server.once('error', failed).listen(0, LOOPBACK, done));
  const address = server.address();
  assert(typeof address === 'object' && address !== null, 'a TCP server has an address');
  return address.port;
}
