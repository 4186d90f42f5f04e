// Requests of one session: sent in the order they are made, answered in the same, so many on their way as is good.

import { Failure } from '../../core/errors.ts';
import type { JuteReader } from './jute.ts';
import { type Op, XID_AUTH } from './protocol.ts';
import type { Outgoing } from './wire.ts';

/** Many small ones, or few whose answers are large. */
const WINDOW_MAX = 500;
const WINDOW_MIN = 4;
const WINDOW_BYTES = 16 * 1024 * 1024;
const SENT_BYTES_MAX = 4 * 1024 * 1024;
/** What an answer is taken to have before there were any, so that the first ones are not too many. */
const ANSWER_BYTES = 1024 * 1024;
const ANSWERS_AVERAGED = 16;
const XID_MAX = 0x7fff_ffff;

export interface Reply {
  /** The last change that the server had made when it answered. */
  readonly zxid: bigint;
  /** 0, or why it refuses. */
  readonly error: number;
  readonly body: JuteReader;
}
interface Asked {
  readonly op: Op;
  readonly body: Buffer;
  readonly promise: PromiseWithResolvers<Reply>;
}
export interface RequestQueue {
  add(op: Op, body: Buffer): Promise<Reply>;
  /** Of the one that is next to be answered; any other is no answer of a ZooKeeper. */
  answer(xid: number, reply: Reply, bytes: number): void;
  fail(failure: Failure): void;
}

/** `onBusy` hears when the first is on its way, and when all are answered. */
export function requestQueue(outgoing: Outgoing, onBusy: (busy: boolean) => void): RequestQueue {
  const waiting = fifo<Asked>();
  const asked = fifo<Asked & { readonly xid: number }>();
  let sentBytes = 0;
  let averageBytes = ANSWER_BYTES;
  let xid = 0;
  let busy = false;

  function pump(): void {
    const window = Math.min(WINDOW_MAX, Math.max(WINDOW_MIN, WINDOW_BYTES / averageBytes));
    while (asked.size() < window && (sentBytes < SENT_BYTES_MAX || asked.size() === 0)) {
      const next = waiting.shift();
      if (!next) break;
      xid = (xid % XID_MAX) + 1;
      const id = next.op === 'auth' ? XID_AUTH : xid;
      asked.push({ ...next, xid: id });
      sentBytes += next.body.length;
      outgoing.send(next.op, id, next.body);
    }
    if (asked.size() > 0 !== busy) onBusy((busy = !busy));
  }
  return {
    add(op, body) {
      const promise = Promise.withResolvers<Reply>();
      waiting.push({ op, body, promise });
      pump();
      return promise.promise;
    },
    answer(id, reply, bytes) {
      const next = asked.shift();
      if (next?.xid !== id) {
        const failure = new Failure('malformed', 'an answer came that nobody had asked for');
        next?.promise.reject(failure); // it waits in no queue any more
        throw failure;
      }
      sentBytes -= next.body.length;
      // Large ones count at once: a server keeps in memory what it has answered and we have not read.
      averageBytes = Math.max(bytes, averageBytes + (bytes - averageBytes) / ANSWERS_AVERAGED);
      next.promise.resolve(reply);
      pump();
    },
    fail(failure) {
      for (const queue of [asked, waiting]) {
        for (let next = queue.shift(); next; next = queue.shift()) next.promise.reject(failure);
      }
    },
  };
}

interface Fifo<T> {
  push(item: T): void;
  shift(): T | undefined;
  size(): number;
}

/** Of a long array each shift would move all that is left. */
function fifo<T>(): Fifo<T> {
  let items: T[] = [];
  let at = 0;
  return {
    push: (item) => void items.push(item),
    shift() {
      const item = items[at];
      if (item === undefined) return undefined;
      at += 1;
      if (at * 2 > items.length) {
        items = items.slice(at);
        at = 0;
      }
      return item;
    },
    size: () => items.length - at,
  };
}
