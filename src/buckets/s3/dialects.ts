// What the S3 of some providers is known to lack, by the address of their servers. Our own settings come first, and
// `lifeboat doctor --store NAME --deep` says which one a server needs that is not listed here.

import type { Context } from '../../core/model.ts';
import type { S3Settings } from './settings.ts';

export interface Dialect {
  /** Keeps the SHA-256 that comes with an object. */
  readonly checksums: boolean;
  /** Heeds If-None-Match. */
  readonly conditionalWrites: boolean;
}

const COMPLETE: Dialect = { checksums: true, conditionalWrites: true };
const KNOWN: readonly { readonly host: RegExp; readonly dialect: Dialect }[] = [
  // Backblaze B2 refuses both headers.
  { host: /\.backblazeb2\.com$/, dialect: { checksums: false, conditionalWrites: false } },
  // Google Cloud Storage refuses the one, and writes over what is there whatever the other says.
  { host: /(^|\.)storage\.googleapis\.com$/, dialect: { checksums: false, conditionalWrites: false } },
];

/** Undefined for AWS itself. */
export function endpointOf({ env }: Context, { endpoint }: S3Settings): string | undefined {
  return endpoint ?? (env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || undefined);
}

export function dialectOf(ctx: Context, settings: S3Settings): Dialect {
  const endpoint = endpointOf(ctx, settings);
  const host = endpoint !== undefined && URL.canParse(endpoint) ? new URL(endpoint).hostname : '';
  const { checksums, conditionalWrites } = KNOWN.find((each) => each.host.test(host))?.dialect ?? COMPLETE;
  return {
    checksums: settings.checksums ?? checksums,
    conditionalWrites: settings.conditional_writes ?? conditionalWrites,
  };
}
