// Which log it is, and by which clock: that of the server.

import type { Context, Json } from '../../../core/model.ts';
import type { Client } from '../client.ts';

export function sourceOf({ where, settings }: Pick<Client, 'where' | 'settings'>): Json {
  const scopes = settings.scopes?.map(({ bucket, prefix, versions, exclude }) => {
    return { bucket, prefix, versions, exclude: [...exclude] };
  });
  return { endpoint: where, buckets: scopes ?? { all: true, versions: settings.versions } };
}

export function serverMs(ctx: Context, client: Client): number {
  return ctx.now().getTime() + (client.clockSkewMs() ?? 0);
}
