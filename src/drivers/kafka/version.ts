// Which Kafka the brokers are. They don't say: it follows from the newest metadata version that they know.

import { apiVersionsV3 } from '@platformatic/kafka';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Cluster } from './cluster.ts';
import { responseOf } from './refusals.ts';

/** The first level of each release. */
const LEVELS: readonly (readonly [level: number, release: string])[] = [
  [30, '4.3'],
  [29, '4.2'],
  [26, '4.1'],
  [22, '4.0'],
  [20, '3.9'],
  [18, '3.8'],
  [15, '3.7'],
  [12, '3.6'],
  [10, '3.5'],
  [8, '3.4'],
  [4, '3.3'],
];
const LEVEL_MAX = 39;
/** What we ask for, by API: to fetch by topic id came with 3.1, access control lists as we know them with 3.3. */
const NEEDED = { 1: 13, 0: 9, 29: 3, 30: 3 } as const;

/** '4.3'. Of brokers that don't keep their metadata themselves, only that they are Kafka 3. */
export async function versionOf(ctx: Context, cluster: Cluster): Promise<string> {
  const said = await cluster.onAny(ctx, 'ApiVersions', (connection) =>
    responseOf(apiVersionsV3.api.async(connection, 'lifeboat', '1')),
  );
  for (const [api, version] of Object.entries(NEEDED)) {
    const known = said.apiKeys.find(({ apiKey }) => apiKey === Number(api));
    if (known && known.minVersion <= version && version <= known.maxVersion) continue;
    throw new Failure('version-mismatch', `${cluster.where} is none of Kafka 3.3 to 4.3`);
  }
  const level = said.supportedFeatures?.find(({ name }) => name === 'metadata.version')?.maxVersion;
  if (level === undefined) return '3';
  if (level > LEVEL_MAX) return 'newer';
  return LEVELS.find(([from]) => level >= from)?.[1] ?? '3';
}
