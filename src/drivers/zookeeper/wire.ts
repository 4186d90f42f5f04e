// A connection to a server, and the frames on it.

import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { interruption } from '../../core/context.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { whenConnected } from '../../core/socket.ts';
import { juteWriter } from './jute.ts';
import { OP, type Op } from './protocol.ts';
import { type Host, type Settings, tlsOptions } from './settings.ts';

export function whereOf({ host, port }: Host): string {
  return `zookeeper at ${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** A connection without a session. */
export async function open(ctx: Context, { host, port }: Host, settings: Settings): Promise<Socket> {
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const tls = tlsOptions(settings);
  const named = isIP(host) ? {} : { servername: host };
  const socket = tls ? connectTls({ host, port, ...named, ...tls }) : connect({ host, port });
  await whenConnected(ctx, socket, { where: whereOf({ host, port }), timeoutMs: settings.timeoutMs });
  return socket;
}

export interface Outgoing {
  send(op: Op, id: number, body: Buffer): void;
  flush(): void;
}

/** What is sent within one step goes out together: a thousand small requests are one write. */
export function outgoingOf(socket: Socket): Outgoing {
  let frames: Buffer[] = [];
  function flush(): void {
    if (frames.length > 0) socket.write(Buffer.concat(frames));
    frames = [];
  }
  return {
    send(op, id, body) {
      if (frames.length === 0) queueMicrotask(flush);
      const head = juteWriter()
        .int(body.length + 8)
        .int(id)
        .int(OP[op])
        .done();
      frames.push(head, body);
    },
    flush,
  };
}

/** Puts chunks together to frames; each lies in memory of its own. `onPiece` hears when one is there in part. */
export function frameCutter(
  bytesMax: () => number,
  onFrame: (frame: Buffer) => void,
  onPiece: () => void,
): (chunk: Buffer) => void {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let wanted = 4;
  return (chunk) => {
    held.push(chunk);
    heldBytes += chunk.length;
    if (heldBytes < wanted) return onPiece();
    const bytes = held.length === 1 && held[0] ? held[0] : Buffer.concat(held, heldBytes);
    let at = 0;
    for (;;) {
      if (bytes.length - at < 4) {
        wanted = 4;
        break;
      }
      const length = bytes.readInt32BE(at);
      if (length < 0 || length > bytesMax()) throw new Failure('malformed', `an answer of ${length} bytes`);
      if (bytes.length - at - 4 < length) {
        wanted = length + 4;
        onPiece();
        break;
      }
      onFrame(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    held = [bytes.subarray(at)];
    heldBytes = bytes.length - at;
  };
}
