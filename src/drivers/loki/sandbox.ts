// A throw-away server that a point is restored into.

import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { SandboxNeed, ServerSpec } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';

/** Everything is taken, whatever its age, and seen at once; nothing leaves the machine. */
export async function serverSpec(ctx: Context, { dir, port }: SandboxNeed): Promise<ServerSpec> {
  const program = await programIn(ctx);
  const file = join(dir, 'loki.yaml');
  return {
    files: [{ path: file, content: configuration(dir, port), mode: 0o600 }],
    prepare: [],
    run: { program, name: 'loki', args: [`-config.file=${file}`], cwd: dir },
    settings: { url: `http://127.0.0.1:${port}` },
    unprivileged: true,
    stopSignal: 'SIGTERM',
  };
}

async function programIn(ctx: Context): Promise<string> {
  for (const dir of (ctx.env.PATH ?? '').split(delimiter)) {
    if (dir === '') continue;
    const path = join(dir, 'loki');
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false, // not there, or not for us
    );
    if (runs) return path;
  }
  throw new Failure('program-missing', 'there is no loki in PATH for a sandbox', {
    hint: 'install Grafana Loki 3 on this machine, the program is one file',
  });
}

/** A port of 0 is any that is free. The last two blocks spare the 16 seconds that it waits for others to join. */
function configuration(dir: string, port: number): string {
  return `auth_enabled: false
server:
  http_listen_address: 127.0.0.1
  http_listen_port: ${port}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: ${port + GRPC_OFFSET > 65_535 ? port - GRPC_OFFSET : port + GRPC_OFFSET}
  log_level: warn
common:
  instance_addr: 127.0.0.1
  path_prefix: ${JSON.stringify(join(dir, 'data'))}
  replication_factor: 1
  ring:
    kvstore:
      store: inmemory
  storage:
    filesystem:
      chunks_directory: ${JSON.stringify(join(dir, 'chunks'))}
      rules_directory: ${JSON.stringify(join(dir, 'rules'))}
schema_config:
  configs:
    - from: 1970-01-02
      store: tsdb
      object_store: filesystem
      schema: v13
      index:
        prefix: index_
        period: 24h
limits_config:
  reject_old_samples: false
  creation_grace_period: 87600h
  ingestion_rate_mb: 1024
  ingestion_burst_size_mb: 1024
  per_stream_rate_limit: 1GB
  per_stream_rate_limit_burst: 1GB
  max_line_size: 0
  max_label_names_per_series: 1000
  max_structured_metadata_size: 1MB
  max_structured_metadata_entries_count: 10000
  max_global_streams_per_user: 0
  max_query_length: 0
  max_query_series: 1000000
analytics:
  reporting_enabled: false
ingester:
  query_store_max_look_back_period: 87600h
  lifecycler:
    min_ready_duration: 0s
    final_sleep: 0s
querier:
  query_ingesters_within: 0s
frontend_worker:
  frontend_address: 127.0.0.1:${port + GRPC_OFFSET > 65_535 ? port - GRPC_OFFSET : port + GRPC_OFFSET}
`;
}
const GRPC_OFFSET = 1;
