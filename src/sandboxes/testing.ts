// A tiny real server and its driver, for tests of sandboxes: it holds one word.

import { createConnection } from 'node:net';
import type { Driver } from '../core/driver.ts';
import { Failure } from '../core/errors.ts';
import { inventoryFrom, judge, paired } from '../core/inventory.ts';
import type { Context } from '../core/model.ts';

const SERVER = `
const [port, version] = process.argv.slice(1);
if (version === 'dies') { console.error('no such luck'); process.exit(3); }
if (version === 'mute') { setInterval(() => {}, 1000); }
else require('node:net').createServer((socket) => socket.end(version + ' ' + process.pid + ' ' + process.getuid()))
  .listen(Number(port), '127.0.0.1');
`;

/** The version says how the server behaves: 'dies', 'mute', else it answers. */
export const tinyDriver = {
  kind: 'tiny',
  open(settings) {
    const { port } = settings as { port: number };
    const probe = async (ctx: Context) => {
      ctx.signal.throwIfAborted();
      const [version = '', pid = '', uid = ''] = (await answer(ctx, port)).split(' ');
      return { version, identity: `${pid} ${uid}`, bytes: 0, holdsData: null, clockSkewMs: null, findings: [] };
    };
    const never = () => Promise.reject(new Error('a sandbox needs only its probe'));
    return { probe, capture: never, restore: never, inventory: async () => inventoryFrom([]) };
  },
  async *compare(ctx, expected, actual) {
    for await (const pair of paired(ctx, expected, actual)) yield judge(pair, 'the word');
  },
  serverSpec: async (_ctx, { dir, port, version }) => ({
    files: [{ path: `${dir}/conf/server.js`, content: SERVER, mode: 0o644 }],
    prepare: [{ program: process.execPath, args: ['-e', 'require("node:fs").writeFileSync("prepared", "")'] }],
    run: { program: process.execPath, args: ['-e', SERVER, String(port), version] },
    settings: { port },
    unprivileged: version === 'unprivileged',
    stopSignal: 'SIGTERM',
  }),
} satisfies Driver;

function answer(ctx: Context, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = createConnection({ host: '127.0.0.1', port });
    ctx.signal.addEventListener('abort', () => socket.destroy(new Error('stopped')), { once: true });
    socket
      .on('data', (data) => (text += data))
      .on('end', () => resolve(text))
      .on('error', (cause) => reject(new Failure('unreachable', `tiny server at port ${port}`, { cause })));
  });
}
