import { type ErrorCode, Failure, isFailure, messageOf, systemCode } from '../../core/errors.ts';

// S3's own words first, because one status has many meanings.
const BY_NAME: Readonly<Record<string, ErrorCode>> = {
  AccessDenied: 'denied',
  AuthorizationHeaderMalformed: 'settings-invalid',
  BadDigest: 'unreachable', // arrived damaged: may go well the next time
  ConditionalRequestConflict: 'unreachable',
  EntityTooLarge: 'value-too-large',
  ExpiredToken: 'denied',
  GlacierExpeditedRetrievalNotAvailable: 'archived', // a 503 that lasts longer than any patience
  IncompleteBody: 'unreachable',
  InsufficientStorage: 'no-space',
  InvalidAccessKeyId: 'denied',
  InvalidObjectState: 'archived',
  InvalidRange: 'missing',
  InvalidToken: 'denied',
  NoSuchBucket: 'settings-invalid',
  NoSuchKey: 'missing',
  NoSuchUpload: 'missing',
  NotFound: 'missing',
  NotImplemented: 'settings-invalid',
  OperationAborted: 'unreachable',
  PermanentRedirect: 'settings-invalid',
  PreconditionFailed: 'exists',
  QuotaExceeded: 'no-space',
  RequestTimeTooSkewed: 'clock-skew',
  RequestTimeout: 'timeout',
  SignatureDoesNotMatch: 'denied',
  SlowDown: 'unreachable',
  StorageFull: 'no-space',
  TimeoutError: 'timeout',
  XAmzContentSHA256Mismatch: 'unreachable',
  XMinioStorageFull: 'no-space',
};
const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  403: 'denied',
  404: 'missing',
  408: 'timeout',
  409: 'unreachable',
  412: 'exists',
  416: 'missing',
  429: 'unreachable',
  501: 'settings-invalid',
  507: 'no-space',
};
const HINTS: Readonly<Record<string, string>> = {
  AccessDenied: 'needed are s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket',
  AuthorizationHeaderMalformed: 'set region to the one that the message names',
  CredentialsProviderError: 'set access_key and secret_key, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile',
  GlacierExpeditedRetrievalNotAvailable: 'nothing can be expedited now: ask again later, or with --thaw standard',
  InvalidObjectState: 'run lifeboat restore POINT --thaw standard, which says how long it takes and what it costs',
  NoSuchBucket: 'create the bucket, or correct its name or the endpoint',
  NotImplemented: 'the server lacks this: set checksums: false, or conditional_writes: false',
  PermanentRedirect: 'set region, or endpoint, to that of the bucket',
  RequestTimeTooSkewed: 'set the clock of this machine',
};

/** What went wrong at the server, as one of our failures. */
export function failureOf(error: unknown, what: string, url: string): Failure {
  if (isFailure(error)) return error;
  const name = error instanceof Error ? error.name : '';
  const status = statusOf(error);
  const code = codeOf(error, name, status);
  if (code === undefined) throw error; // neither the server's doing nor the network's: a bug
  const why = name === 'UnknownError' || status === 0 ? messageOf(error) : `${name}: ${messageOf(error)}`;
  const answer = status > 0 ? ` (HTTP ${status})` : '';
  return new Failure(code, `${what} in ${url}: ${why}${answer}`, { cause: error, hint: hintOf(error, name, status) });
}

/** The HTTP status that came, 0 when none did. */
export function statusOf(error: unknown): number {
  const metadata = typeof error === 'object' && error !== null && '$metadata' in error ? error.$metadata : undefined;
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return 0;
  return Number(metadata.httpStatusCode) || 0;
}

function codeOf(error: unknown, name: string, status: number): ErrorCode | undefined {
  const known = BY_NAME[name] ?? BY_STATUS[status];
  if (known !== undefined) return known;
  if (status >= 500 || (status >= 200 && status < 300)) return 'unreachable'; // an answer that is no S3 answer
  if (status >= 300) return 'settings-invalid';
  if (name === 'CredentialsProviderError') return 'denied';
  if (isCertificate(systemCode(error))) return 'settings-invalid';
  return systemCode(error) === '' ? undefined : 'unreachable';
}

function hintOf(error: unknown, name: string, status: number): string | undefined {
  if (isCertificate(systemCode(error))) return 'name the authority that signed it in NODE_EXTRA_CA_CERTS';
  if (status === 403 && HINTS[name] === undefined) {
    return 'without s3:ListBucket a key that is not there looks forbidden, too';
  }
  if (/x-amz-checksum/.test(messageOf(error))) return 'set checksums: false';
  if (status === 0 && systemCode(error) !== '') return 'see that the server runs, and endpoint and region of the store';
  return HINTS[name];
}

function isCertificate(code: string): boolean {
  return /CERT|SIGNATURE/.test(code);
}
