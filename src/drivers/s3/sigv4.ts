// AWS Signature Version 4, as much of it as S3 needs.

import { hash } from 'node:crypto';
import type { Identity } from './settings.ts';

export const EMPTY_SHA256 = hash('sha256', '', 'hex');

/** Of SHA-256. */
const BLOCK_BYTES = 64;

export interface Signable {
  readonly method: string;
  /** Percent-encoded, as it is sent. */
  readonly path: string;
  /** Names and values percent-encoded, in order of name: 'max-keys=2&prefix=J'. */
  readonly query: string;
  /** Names in lower case; values one character per byte, without spaces around. All of them are signed. */
  readonly headers: Readonly<Record<string, string>>;
  /** Of the body, in hex, or 'UNSIGNED-PAYLOAD'. */
  readonly sha256: string;
}
export type Signer = (request: Signable, at: Date) => Record<string, string>;

/** Gives the headers to send: those that came, with time, hash and signature. */
export function signer({ accessKey, secretKey, sessionToken }: Identity, region: string): Signer {
  let day = '';
  let second = Number.NaN;
  let time = '';
  let hmac = hmacWith(Buffer.alloc(0));
  function ofDay(date: string): Hmac {
    if (date !== day) {
      const steps = [date, region, 's3', 'aws4_request'];
      hmac = hmacWith(steps.reduce((key: Buffer, step) => hmacWith(key)(step), Buffer.from(`AWS4${secretKey}`)));
      day = date;
    }
    return hmac;
  }
  return ({ method, path, query, headers, sha256 }, at) => {
    const now = Math.floor(at.getTime() / 1000);
    if (now !== second) time = at.toISOString().replace(/[-:]|\.\d{3}/g, '');
    second = now;
    const date = time.slice(0, 8);
    const all: Record<string, string> = { ...headers, 'x-amz-content-sha256': sha256, 'x-amz-date': time };
    if (sessionToken !== undefined) all['x-amz-security-token'] = sessionToken;
    const names = Object.keys(all).sort();
    let canonical = `${method}\n${path}\n${query}\n`;
    for (const name of names) canonical += `${name}:${collapsed(all[name] ?? '')}\n`;
    const signed = names.join(';');
    canonical += `\n${signed}\n${sha256}`;
    const scope = `${date}/${region}/s3/aws4_request`;
    const digest = hash('sha256', Buffer.from(canonical, 'latin1'), 'hex');
    const signature = ofDay(date)(`AWS4-HMAC-SHA256\n${time}\n${scope}\n${digest}`).toString('hex');
    const credential = `Credential=${accessKey}/${scope}`;
    all.authorization = `AWS4-HMAC-SHA256 ${credential},SignedHeaders=${signed},Signature=${signature}`;
    return all;
  };
}

type Hmac = (text: string) => Buffer;

/** By hand (RFC 2104): Node's own takes longer to make its key than for all the rest, and there is one per request. */
function hmacWith(key: Buffer): Hmac {
  const block = Buffer.alloc(BLOCK_BYTES);
  (key.length > BLOCK_BYTES ? hash('sha256', key, 'buffer') : key).copy(block);
  const [inner, outer] = [block.map((byte) => byte ^ 0x36), block.map((byte) => byte ^ 0x5c)];
  return (text) => {
    const first = hash('sha256', Buffer.concat([inner, Buffer.from(text)]), 'buffer');
    return hash('sha256', Buffer.concat([outer, first]), 'buffer');
  };
}

function collapsed(value: string): string {
  return value.includes('  ') ? value.replace(/ +/g, ' ') : value;
}
