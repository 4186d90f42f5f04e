import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from './install.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';

export interface LokiOptions {
  /** Lines of its `limits_config`: ['reject_old_samples: true']. */
  readonly limits?: readonly string[];
  /** Tenants are told apart by X-Scope-OrgID, which every request then needs. */
  readonly tenants?: boolean;
  /** Lines of any age are looked for where they come in first, so that they are seen at once. */
  readonly fresh?: boolean;
}
export interface Loki extends Server {
  readonly url: string;
  readonly dir: string;
  readonly program: string;
}

export async function startLoki(options: LokiOptions = {}): Promise<Loki> {
  const program = await installed('loki-3');
  const dir = temporaryDir('loki');
  return await startOnFreePorts(2, async (port = 0, grpc = 0) => {
    const file = join(dir, 'loki.yaml');
    writeFileSync(file, configuration(options, { dir, port, grpc }));
    const url = `http://${host}:${port}`;
    const server = await startServer({ program, args: [`-config.file=${file}`] }, () => isReady(url));
    return {
      ...server,
      ...{ url, dir, program },
      get pid() {
        return server.pid;
      },
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        removeDir(dir);
      },
    };
  });
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/ready`)).status === 200;
  } catch {
    return false; // it does not listen yet
  }
}

interface Place {
  readonly dir: string;
  readonly port: number;
  readonly grpc: number;
}

/** Without the last two blocks it is ready after 16 seconds. */
function configuration(
  { limits = [], tenants = false, fresh = true }: LokiOptions,
  { dir, port, grpc }: Place,
): string {
  return `auth_enabled: ${tenants}
server:
  http_listen_address: ${host}
  http_listen_port: ${port}
  grpc_listen_address: ${host}
  grpc_listen_port: ${grpc}
  log_level: warn
common:
  instance_addr: ${host}
  path_prefix: ${dir}
  replication_factor: 1
  ring:
    kvstore:
      store: inmemory
  storage:
    filesystem:
      chunks_directory: ${dir}/chunks
      rules_directory: ${dir}/rules
schema_config:
  configs:
    - from: 2020-01-01
      store: tsdb
      object_store: filesystem
      schema: v13
      index:
        prefix: index_
        period: 24h
limits_config:
  reject_old_samples: ${limits.some((line) => line.startsWith('reject_old_samples:')) ? 'true' : 'false'}
${limits
  .filter((line) => !line.startsWith('reject_old_samples:'))
  .map((line) => `  ${line}\n`)
  .join('')}analytics:
  reporting_enabled: false
ingester:
  query_store_max_look_back_period: ${fresh ? '87600h' : '0s'}
  lifecycler:
    min_ready_duration: 0s
    final_sleep: 0s
querier:
  query_ingesters_within: ${fresh ? '0s' : '3h'}
frontend_worker:
  frontend_address: ${host}:${grpc}
`;
}
