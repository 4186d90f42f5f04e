// The log as a server streams it to a standby, and what it is told of how far that is safe.

import { Failure } from '../../../core/errors.ts';
import type { Context } from '../../../core/model.ts';
import type { Message, Replication, Stream } from '../physical/replication.ts';
import { lsnOf } from './positions.ts';

/** Times of the protocol are microseconds since the beginning of 2000. */
const EPOCH_MS = Date.UTC(2000, 0, 1);
/** A server sends its log commit by commit. What it costs is nothing beside how long a range is collected. */
const GROWING_MS = 25;
/** Of the server's error codes: it has removed what was asked for. */
export const UNDEFINED_FILE = '58P01';
const LOG_HEADER_BYTES = 24;
const ALIVE_BYTES = 17;
const STATUS_BYTES = 34;

/** When the server has sent it, by its clock, and up to where its log went by then. */
export interface LogSent {
  readonly at: Date;
  readonly end: number;
}
export type WalMessage =
  /** Its bytes are read to their end before the next message, and borrowed. */
  | ({ readonly kind: 'log'; readonly from: number; piece(): Promise<Buffer | null> } & LogSent)
  | { readonly kind: 'alive'; readonly at: Date; readonly wantsReply: boolean }
  /** The timeline ends here. */
  | { readonly kind: 'end' };

export interface WalStream {
  next(): Promise<WalMessage>;
  /** `flushed`: the server may forget what lies before it. */
  report(ctx: Context, status: { written: number; flushed: number; wantsReply: boolean }): void;
}

export interface StreamPlace {
  /** Null: what is held for others is read. */
  readonly slot: string | null;
  readonly timeline: number;
  readonly from: string;
}

/** It is the last command of the connection. */
export function streamWal(connection: Replication, { slot, timeline, from }: StreamPlace): WalStream {
  const { where } = connection;
  const by = slot === null ? '' : `SLOT "${slot}" `;
  const command = `START_REPLICATION ${by}PHYSICAL ${lsnOf(from)} TIMELINE ${timeline}`;
  const stream = connection.stream(command, GROWING_MS);
  return {
    next: () => nextMessage(stream, where),
    report(ctx, { written, flushed, wantsReply }) {
      const body = Buffer.alloc(STATUS_BYTES);
      body.write('r');
      body.writeBigInt64BE(BigInt(written), 1);
      body.writeBigInt64BE(BigInt(flushed), 9);
      body.writeBigInt64BE(0n, 17); // nothing is replayed here
      body.writeBigInt64BE(BigInt(ctx.now().getTime() - EPOCH_MS) * 1000n, 25);
      body.writeUInt8(wantsReply ? 1 : 0, 33);
      stream.send('d', body);
    },
  };
}

async function nextMessage(stream: Stream, where: string): Promise<WalMessage> {
  for (;;) {
    const message = await stream.next();
    if (message.type === 'c' || message.type === 'T' || message.type === 'C') return { kind: 'end' };
    if (message.type === 'W') continue; // from here on it is a copy
    if (message.type !== 'd') throw unexpected(where, message.type);
    const kind = String.fromCharCode((await exactly(message, 1, where))[0] ?? 0);
    if (kind === 'w') {
      const header = await exactly(message, LOG_HEADER_BYTES, where);
      const [from, end] = [0, 8].map((at) => Number(header.readBigInt64BE(at))) as [number, number];
      return { kind: 'log', from, end, at: timeOf(header.readBigInt64BE(16)), piece: () => message.piece() };
    }
    if (kind !== 'k') throw unexpected(where, kind);
    const body = await exactly(message, ALIVE_BYTES, where);
    return { kind: 'alive', at: timeOf(body.readBigInt64BE(8)), wantsReply: body.readUInt8(16) === 1 };
  }
}

async function exactly(message: Message, bytes: number, where: string): Promise<Buffer> {
  const read = Buffer.alloc(bytes);
  for (let filled = 0; filled < bytes; ) {
    const piece = await message.piece(bytes - filled);
    if (!piece) throw new Failure('malformed', `${where}: a message that is too short`);
    filled += piece.copy(read, filled);
  }
  return read;
}

function timeOf(microseconds: bigint): Date {
  return new Date(EPOCH_MS + Number(microseconds / 1000n));
}

function unexpected(where: string, kind: string): Failure {
  return new Failure('malformed', `${where}: the server sent ${JSON.stringify(kind)} in its log`);
}
