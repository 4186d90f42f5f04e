// What brokers answer when they don't do what they are asked: their codes, and whether it helps to ask again.

import {
  GenericError,
  protocolErrors,
  protocolErrorsCodesById,
  ResponseError,
  TimeoutError,
} from '@platformatic/kafka';
import { Failure, isFailure, systemCode } from '../../core/errors.ts';

/** The library's own name of a code: 'UNKNOWN_TOPIC_OR_PARTITION'. */
export function nameOf(code: number): string {
  return protocolErrorsCodesById[code] ?? `error ${code}`;
}

interface Refusal extends Error {
  readonly refusal: string;
}

/** Throws what we found in an answer, unless the code says that all is well. */
export function refuse(code: number, said: string | null = null): void {
  if (code === 0) return;
  const refusal: Refusal = Object.assign(new Error(said ?? nameOf(code)), { refusal: nameOf(code) });
  throw refusal;
}

/** The answer, also where some of it is refused: who asks looks at the code of each item. */
export async function responseOf<R>(asking: Promise<R>): Promise<R> {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof ResponseError && typeof error.response === 'object') return error.response as R;
    throw error;
  }
}

/** Null when the error is not a broker's answer. */
export function codeName(error: unknown): string | null {
  if (error instanceof Error && 'refusal' in error) return String(error.refusal);
  if (!(error instanceof ResponseError)) return null;
  const [first] = error.errors;
  return typeof first === 'object' && first !== null && 'apiId' in first ? String(first.apiId) : null;
}

/** The user of a cluster lacks a right: `what` names it. */
export function mayNot(
  { where, username }: { readonly where: string; readonly username: string | null },
  what: string,
  cause?: unknown,
): Failure {
  const who = username ? `user ${username}` : 'an anonymous user';
  return new Failure('privileges', `${where}: ${who} may not: ${what}`, {
    cause,
    hint: 'docs/drivers/kafka.md has the rights that are needed; leave out topics that are not to be captured: exclude',
  });
}

/** It was answered: no other broker would say something else. */
export function isRefusal(error: unknown): boolean {
  return isLockedOut(error) || codeName(error) !== null;
}

/** The password is wrong, or the way to say it: it may be the cause of why a connection has ended. */
export function isLockedOut(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (errorCodeOf(each) === 'PLT_KFK_AUTHENTICATION') return true;
  }
  return false;
}

export function isTemporary(error: unknown): boolean {
  if (isLockedOut(error)) return false;
  const code = codeName(error);
  if (code !== null) return protocolErrors[code]?.canRetry === true;
  if (isFailure(error)) return error.code === 'unreachable';
  return errorCodeOf(error) === 'PLT_KFK_NETWORK' || systemCode(error).startsWith('E');
}

/** No answer came in time. */
export function isSilence(error: unknown): boolean {
  return error instanceof TimeoutError;
}

function errorCodeOf(error: unknown): string {
  return error instanceof Error && GenericError.isGenericError(error) ? error.code : systemCode(error);
}
