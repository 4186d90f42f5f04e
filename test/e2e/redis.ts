import { createClient } from 'redis';

/** One command to a Redis, and its answer. */
export async function redisCommand(url: string, args: readonly string[]): Promise<unknown> {
  const client = createClient({ url });
  client.on('error', () => undefined); // each command rejects on its own
  await client.connect();
  try {
    return await client.sendCommand([...args]);
  } finally {
    client.destroy();
  }
}
