// What a server refuses, and what a network does, as our failures.

import { type ErrorCode, Failure, isFailure, messageOf, systemCode } from '../../core/errors.ts';
import { parseXml, textIn } from './xml.ts';

// S3's own words first, because one status has many meanings.
const BY_NAME: Readonly<Record<string, ErrorCode>> = {
  AccessDenied: 'denied',
  AuthorizationHeaderMalformed: 'settings-invalid',
  BadDigest: 'unreachable', // arrived damaged: may go well the next time
  BucketAlreadyExists: 'exists',
  BucketAlreadyOwnedByYou: 'exists',
  ConditionalRequestConflict: 'unreachable',
  EntityTooLarge: 'value-too-large',
  ExpiredToken: 'denied',
  IncompleteBody: 'unreachable',
  InsufficientStorage: 'no-space',
  InternalError: 'unreachable',
  InvalidAccessKeyId: 'denied',
  InvalidObjectState: 'archived',
  InvalidRange: 'different',
  KeyTooLongError: 'value-too-large',
  NoSuchBucket: 'missing',
  NoSuchKey: 'missing',
  NoSuchUpload: 'missing',
  NoSuchVersion: 'missing',
  OperationAborted: 'unreachable',
  PermanentRedirect: 'settings-invalid',
  PreconditionFailed: 'different',
  QuotaExceeded: 'no-space',
  RequestTimeTooSkewed: 'clock-skew',
  RequestTimeout: 'timeout',
  ServiceUnavailable: 'unreachable',
  SignatureDoesNotMatch: 'denied',
  SlowDown: 'unreachable',
  SlowDownRead: 'unreachable',
  SlowDownWrite: 'unreachable',
  StorageFull: 'no-space',
  XAmzContentSHA256Mismatch: 'unreachable',
  XMinioStorageFull: 'no-space',
};
const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  403: 'denied',
  404: 'missing',
  408: 'timeout',
  412: 'different',
  416: 'different',
  429: 'unreachable',
  507: 'no-space',
};
const HINTS: Readonly<Record<string, string>> = {
  AuthorizationHeaderMalformed: 'set region to the one that the message names',
  InvalidAccessKeyId: 'see access_key, or AWS_ACCESS_KEY_ID',
  InvalidObjectState: 'thaw it first: it lies in an archive of the provider',
  NoSuchBucket: 'correct the name of the bucket, or the endpoint',
  PermanentRedirect: 'set region, or endpoint, to that of the bucket',
  RequestTimeTooSkewed: 'set the clock of this machine',
  SignatureDoesNotMatch: 'see secret_key, or AWS_SECRET_ACCESS_KEY',
};
/** The name of what a server says without a word of S3. */
const WORDLESS = 'HTTP';
const PASSING: readonly ErrorCode[] = ['unreachable', 'timeout', 'clock-skew'];
/** What servers say of what they will never have. */
const UNKNOWN_TO_IT = /^(NotImplemented|MethodNotAllowed|XNotImplemented|XMinioNotImplemented|UnsupportedOperation)$/;

/** What a server said, as the cause of a Failure. */
export interface Refusal extends Error {
  readonly status: number;
}

/** `bodiless`: the answer to a HEAD, which never says why. */
export function refused(what: string, status: number, body: Buffer, bodiless = false): Failure {
  const { name, message } = saidIn(body);
  const refusal: Refusal = Object.assign(new Error(message), { name, status });
  if (status === 404 && name === WORDLESS && !bodiless) {
    // What S3 lacks it names. A proxy that has lost its server for a moment must not make objects missing.
    return new Failure('unreachable', `${what}: the answer was none of S3 (HTTP 404)`, {
      cause: refusal,
      hint: 'see endpoint, and the proxy before the server',
    });
  }
  const code = BY_NAME[name] ?? BY_STATUS[status] ?? (status >= 500 && status !== 501 ? 'unreachable' : 'query-failed');
  const hint = HINTS[name] ?? (status === 403 ? 'lifeboat doctor tells which rights are missing' : undefined);
  const word = name === WORDLESS ? `HTTP${status}` : name;
  return new Failure(code, `${what}: ${word}: ${message} (HTTP ${status})`, { cause: refusal, hint });
}

/** Of what broke before an answer was there. Throws what is neither the server's doing nor the network's. */
export function broken(what: string, error: unknown): Failure {
  if (isFailure(error)) return error;
  const code = systemCode(error);
  if (error instanceof RangeError) return new Failure('query-failed', `${what}: ${error.message}`, { cause: error });
  if (code === '') throw error;
  if (code === 'UND_ERR_INVALID_ARG') {
    return new Failure('query-failed', `${what}: no request can say this: ${messageOf(error)}`, { cause: error });
  }
  const hint = 'see that it runs, and endpoint and ca_file of the component';
  if (/CERT|SIGNATURE/.test(code)) {
    return new Failure('settings-invalid', `${what}: ${messageOf(error)}`, {
      cause: error,
      hint: 'name the authority that signed it in ca_file',
    });
  }
  const timeout = /TIMEOUT|ETIMEDOUT/.test(code);
  return new Failure(timeout ? 'timeout' : 'unreachable', `${what}: ${messageOf(error)}`, { cause: error, hint });
}

/** The server's own word for it, '' when it had none. */
export function wordOf(error: unknown): string {
  return isFailure(error) && error.cause instanceof Error && error.cause.name !== WORDLESS ? error.cause.name : '';
}

/** The HTTP status that came, 0 when none did. */
export function statusOf(error: unknown): number {
  const cause = isFailure(error) ? error.cause : undefined;
  return cause instanceof Error && 'status' in cause && typeof cause.status === 'number' ? cause.status : 0;
}

/** True of what may go away by itself. */
export function isPassing(error: unknown): error is Failure {
  return isFailure(error) && PASSING.includes(error.code);
}

/** True when the server lacks what was asked of it. */
export function isUnknownToServer(error: unknown): boolean {
  return UNKNOWN_TO_IT.test(wordOf(error)) || [405, 501].includes(statusOf(error));
}

function saidIn(body: Buffer): { name: string; message: string } {
  const plain = { name: WORDLESS, message: 'no reason was given' };
  if (body.length === 0) return plain;
  try {
    const error = parseXml(body.toString('utf8'));
    const name = textIn(error, 'Code');
    return name === '' ? plain : { name, message: textIn(error, 'Message') };
  } catch {
    return plain; // a page of a proxy
  }
}
