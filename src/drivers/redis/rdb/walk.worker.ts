// The thread that walks an RDB. It runs once from top to bottom and sleeps where it has to wait: for the next chunk,
// or for those who take what it makes. So the walk is plain code, and the thread that moves the bytes is never held up.

import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Failure } from '../../../core/errors.ts';
import { commandWriter } from './commands.ts';
import { type Input, inputFrom } from './input.ts';
import {
  ANSWERED,
  type FromWalker,
  type Job,
  OUTPUTS_MAX,
  type Outputs,
  type Result,
  SENT,
  type ToWalker,
} from './job.ts';
import { rowVisitor } from './rows.ts';
import { newTally } from './tally.ts';
import type { Format, Visitor } from './visitor.ts';
import { walkRdb } from './walk.ts';

const { job, words } = workerData as { job: Job; words: Int32Array };
const port = parentPort as MessagePort;
let last: Uint8Array | null = null;
let received = 0;
let outputs = 0;

try {
  say({ result: perform(inputFrom(nextChunk)) });
} catch (error) {
  if (error instanceof Failure) say({ failure: { code: error.code, message: error.message, hint: error.hint } });
  else say({ bug: error });
}

function perform(input: Input): Result {
  const aux: Record<string, string> = {};
  const left = { modules: new Map<string, number>(), ownData: new Set<string>(), fieldExpiries: 0, expired: 0 };
  const nothing = { lines: [], totals: {}, ...left, keys: 0 };
  function walk(visitor: Visitor): Format {
    const note = (name: string, value: string): void => {
      aux[name] = value;
      visitor.aux?.(name, value);
    };
    return walkRdb(input, { ...visitor, aux: note });
  }
  if (job.kind === 'tally') {
    const tally = newTally(job.level, job.databases);
    const format = walk(tally.visitor);
    return { ...nothing, format, aux, lines: tally.lines(), totals: tally.totals() };
  }
  if (job.kind === 'rows') {
    return { ...nothing, format: walk(rowVisitor(input, job.select, (row) => give({ row }))), aux };
  }
  const writer = commandWriter(input, job.options, (bytes, count) => {
    give({ commands: { bytes, count } }, [bytes.buffer as ArrayBuffer]);
  });
  const format = walk(writer.visitor);
  writer.flush();
  return { ...nothing, format, aux, ...writer.left, keys: writer.keys() };
}

/** Sleeps until a chunk is there. The one before goes back to be filled again. */
function nextChunk(): Uint8Array | null {
  if (last) say({ taken: last }, [last.buffer as ArrayBuffer]);
  last = null;
  for (;;) {
    const message = receiveMessageOnPort(port)?.message as ToWalker | undefined;
    if (message) {
      received += 1;
      if ('end' in message) return null;
      last = message.chunk;
      return last;
    }
    Atomics.wait(words, SENT, received);
  }
}

/** `moved` is handed over, not copied: copies would pile up as garbage in both threads. */
function give(output: Outputs, moved: ArrayBuffer[] = []): void {
  outputs += 1;
  say({ output }, moved);
  for (let answered = Atomics.load(words, ANSWERED); outputs - answered >= OUTPUTS_MAX; ) {
    Atomics.wait(words, ANSWERED, answered);
    answered = Atomics.load(words, ANSWERED);
  }
}

function say(message: FromWalker, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}
