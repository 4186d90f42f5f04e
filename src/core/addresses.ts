// Where settings lead to: the hosts and ports that they name, and whether two of them lead to the same server.

import { isDeepStrictEqual } from 'node:util';

/** Keys of settings whose text names servers, whatever the kind. */
const PLACES: readonly string[] = ['url', 'endpoint', 'hosts', 'brokers'];
/** Redis takes targets without a scheme, too. To the last '@': a password may hold one that was not encoded. */
export const PASSWORD_IN_URL = /^((?:[^:/]*:\/\/)?[^:/]*):(?!\/\/).+@/s;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[?::1\]?)$/i;

export interface Address {
  /** In lower case; 'localhost' for each name of this machine's own. */
  readonly host: string;
  /** '' when it is not named. */
  readonly port: string;
}

/** What both lead to, for a message; null when nothing shows that it is the same. */
export function sharedPlace(one: unknown, other: unknown): string | null {
  if (isDeepStrictEqual(one, other)) return 'the same settings';
  const others = addressesIn(other);
  const shared = addressesIn(one).find((each) => others.some((another) => isSame(each, another)));
  return shared ? `the server at ${shared.host}${shared.port === '' ? '' : `:${shared.port}`}` : null;
}

/** One that names no port may be at any. */
function isSame(a: Address, b: Address): boolean {
  return a.host === b.host && (a.port === b.port || a.port === '' || b.port === '');
}

export function addressesIn(settings: unknown): Address[] {
  if (typeof settings !== 'object' || settings === null) return [];
  const given: Readonly<Record<string, unknown>> = { ...settings };
  const texts = PLACES.flatMap((key) => given[key] ?? []).flatMap((each) => String(each).split(','));
  const { host, port = '' } = given;
  const own = typeof host === 'string' ? [addressOf(port === '' ? host : `${host}:${String(port)}`)] : [];
  return [...own, ...texts.map(addressOf)].filter((each) => each !== null);
}

/** Of a URL, or of host:port with or without a path. */
function addressOf(text: string): Address | null {
  const written = text.trim();
  // As http it is taken apart in the same way whatever its scheme, and the port of http is no special one.
  const url = URL.parse(`x-place://${written.replace(/^[a-z][a-z0-9+.-]*:\/\//i, '')}`);
  if (!url || url.hostname === '') return null;
  const host = url.hostname.toLowerCase();
  return { host: LOOPBACK.test(host) ? 'localhost' : host, port: url.port || portOf(written) };
}

function portOf(text: string): string {
  return text.startsWith('https://') ? '443' : text.startsWith('http://') ? '80' : '';
}
