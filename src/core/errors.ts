// Every way this program fails on purpose, in one table. Exit codes are never reused. docs/errors.md
// explains each row, and a test keeps both in step.

interface ErrorKind {
  /** Exit code of the command line. */
  readonly exit: number;
  /** Status of the HTTP API. */
  readonly http: number;
  /** Trying the same again may help. */
  readonly retry: boolean;
  /** Seen while restoring or verifying: the recovery point itself is bad. */
  readonly lost: boolean;
}

const TABLE = {
  usage: { exit: 2, http: 400, retry: false, lost: false },
  'settings-invalid': { exit: 10, http: 422, retry: false, lost: false },
  missing: { exit: 11, http: 404, retry: false, lost: true },
  'target-not-empty': { exit: 12, http: 409, retry: false, lost: false },
  checksum: { exit: 13, http: 500, retry: false, lost: true },
  unreachable: { exit: 14, http: 503, retry: true, lost: false },
  'wrong-password': { exit: 15, http: 401, retry: false, lost: false },
  'no-space': { exit: 16, http: 507, retry: false, lost: false },
  denied: { exit: 17, http: 403, retry: false, lost: false },
  exists: { exit: 18, http: 409, retry: false, lost: false },
  locked: { exit: 19, http: 423, retry: true, lost: false },
  'program-missing': { exit: 20, http: 500, retry: false, lost: false },
  'program-failed': { exit: 21, http: 500, retry: false, lost: false },
  timeout: { exit: 22, http: 504, retry: true, lost: false },
  'version-mismatch': { exit: 23, http: 409, retry: false, lost: false },
  privileges: { exit: 24, http: 403, retry: false, lost: false },
  ambiguous: { exit: 25, http: 409, retry: false, lost: false },
  'not-this-stack': { exit: 26, http: 409, retry: false, lost: false },
  'clock-skew': { exit: 27, http: 500, retry: true, lost: false },
  malformed: { exit: 28, http: 422, retry: false, lost: true },
  'value-too-large': { exit: 29, http: 422, retry: false, lost: false },
  blocked: { exit: 30, http: 409, retry: true, lost: false },
  archived: { exit: 31, http: 409, retry: true, lost: false },
  'lease-lost': { exit: 32, http: 409, retry: true, lost: false },
  different: { exit: 33, http: 409, retry: false, lost: false },
  'not-confirmed': { exit: 34, http: 409, retry: false, lost: false },
  'nothing-captured': { exit: 1, http: 500, retry: true, lost: false },
  'query-failed': { exit: 35, http: 500, retry: false, lost: false },
  'source-damaged': { exit: 36, http: 500, retry: false, lost: false },
  'hook-failed': { exit: 37, http: 500, retry: false, lost: false },
  'disk-failed': { exit: 38, http: 500, retry: false, lost: false },
  interrupted: { exit: 130, http: 499, retry: true, lost: false },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof TABLE;
export const ERRORS: Readonly<Record<ErrorCode, ErrorKind>> = TABLE;

/** The one error class: what the world did to us. Bugs are plain assertion errors. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly code: ErrorCode;
  /** The next step for the user. */
  readonly hint: string | undefined;
  /** When it passes by itself, unless something comes between; undefined where nobody knows. */
  readonly until: Date | undefined;
  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; hint?: string | undefined; until?: Date | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.until = options.until;
  }
}

export function isFailure(error: unknown, code?: ErrorCode): error is Failure {
  return error instanceof Failure && (code === undefined || error.code === code);
}

/** The text of anything thrown, for messages and findings. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's error code ('ENOENT', 'ECONNREFUSED') of anything thrown, '' when it has none. */
export function systemCode(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}
