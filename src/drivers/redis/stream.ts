// Where commands and transactions end in a replication stream, without holding any of them.

import { Failure } from '../../core/errors.ts';

export interface StreamWalk {
  /** Of the next bytes: how many of them lie before the last place at which all is whole; 0 when there is none. */
  push(piece: Buffer): number;
  /** Was anything done that changes data, in what the last piece made whole? */
  changed(): boolean;
  /** Another one that goes on from here. */
  fork(): StreamWalk;
}

interface State {
  /** Arguments of the command that are still to come. */
  arguments: number;
  /** Bytes of the argument that are still to come, with its end of line. */
  bytes: number;
  /** The beginning of a line that is not whole. */
  line: string;
  /** Of the command, as far as it has come; null when it is a long one. */
  name: string | null;
  isName: boolean;
  inTransaction: boolean;
  /** Something was done since all was whole. */
  touched: boolean;
}

const LF = 10;
const LINE_BYTES_MAX = 32;
const END_BYTES = 2;
/** 'REPLCONF' is the longest that matters. */
const NAME_BYTES_MAX = 8;
const SAYS_NOTHING: readonly (string | null)[] = ['PING', 'REPLCONF', 'SELECT', 'MULTI', 'EXEC'];

const BEGINNING: State = {
  ...{ arguments: 0, bytes: 0, line: '', name: '', isName: false },
  ...{ inTransaction: false, touched: false },
};

export function streamWalk(from?: State): StreamWalk {
  const state = from ?? { ...BEGINNING };
  let changed = false;

  function ended(): void {
    const name = state.name?.toUpperCase() ?? null;
    if (name === 'MULTI') state.inTransaction = true;
    else if (name === 'EXEC' || name === 'DISCARD') state.inTransaction = false;
    state.touched ||= !SAYS_NOTHING.includes(name);
    if (state.inTransaction) return;
    changed ||= state.touched;
    state.touched = false;
  }
  function head(line: string): void {
    const [, kind, digits] = /^([*$])(\d{1,18})\r$/.exec(line) ?? [];
    if (kind !== (state.arguments === 0 ? '*' : '$')) {
      throw new Failure('malformed', 'the journal does not hold the commands of a Redis');
    }
    const count = Number(digits);
    if (kind === '*') {
      state.arguments = count;
      state.name = '';
      state.isName = true;
      return;
    }
    state.bytes = count + END_BYTES;
    if (state.isName && count > NAME_BYTES_MAX) state.name = null;
  }
  function argument(piece: Buffer, at: number): number {
    const step = Math.min(state.bytes, piece.length - at);
    if (state.isName && state.name !== null) {
      const text = Math.min(step, Math.max(0, state.bytes - END_BYTES));
      state.name += piece.toString('latin1', at, at + text);
    }
    state.bytes -= step;
    if (state.bytes === 0) {
      state.isName = false;
      state.arguments -= 1;
    }
    return at + step;
  }
  return {
    push(piece) {
      changed = false;
      let whole = 0;
      for (let at = 0; at < piece.length; ) {
        if (state.bytes > 0) {
          at = argument(piece, at);
          if (state.arguments > 0 || state.bytes > 0) continue;
          ended();
          if (!state.inTransaction) whole = at;
          continue;
        }
        const end = piece.indexOf(LF, at);
        const upTo = end < 0 ? piece.length : end;
        if (state.line.length + upTo - at > LINE_BYTES_MAX) head(''); // no line of such a stream is as long
        state.line += piece.toString('latin1', at, upTo);
        at = upTo + 1;
        if (end < 0) break;
        head(state.line);
        state.line = '';
      }
      return whole;
    },
    changed: () => changed,
    fork: () => streamWalk({ ...state }),
  };
}
