// Values and data of modules: written by code that is not here, but in parts that can be told apart without it.

import { ensure, type Input, malformed, readDouble, readLength, readWide, skip } from './input.ts';
import { itemFromNumber, readElement, skipString } from './strings.ts';
import type { Visitor } from './visitor.ts';

const PART = { end: 0, signed: 1, unsigned: 2, float: 3, double: 4, string: 5 } as const;

export function walkModule(input: Input, visitor: Visitor): void {
  visitor.module(moduleName(readWide(input)));
  for (let code = readLength(input); code !== PART.end; code = readLength(input)) {
    if (code === PART.string) readElement(input);
    else itemFromNumber(input, moduleNumber(input, code));
    visitor.item(input.item, input.from, input.to);
  }
}

function moduleNumber(input: Input, code: number): number | bigint {
  if (code === PART.signed || code === PART.unsigned) return readWide(input);
  if (code === PART.double) return readDouble(input);
  if (code !== PART.float) throw malformed('a module wrote something unknown');
  ensure(input, 4);
  input.pos += 4;
  return input.window.view.getFloat32(input.pos - 4, true);
}

/** Reads past what a module wrote and tells its name. */
export function skipModule(input: Input): string {
  const name = moduleName(readWide(input));
  for (let code = readLength(input); code !== PART.end; code = readLength(input)) {
    if (code === PART.signed || code === PART.unsigned) readWide(input);
    else if (code === PART.float) skip(input, 4);
    else if (code === PART.double) skip(input, 8);
    else if (code === PART.string) skipString(input);
    else throw malformed('a module wrote something unknown');
  }
  return name;
}

/** Nine letters of six bits, and ten bits of the encoding's version. */
function moduleName(id: number | bigint): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  let name = '';
  for (let rest = BigInt(id) >> 10n; name.length < 9; rest >>= 6n) name = letters.charAt(Number(rest & 63n)) + name;
  return name;
}
