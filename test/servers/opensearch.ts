import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed, type ServerName } from './install.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';

export type OpenSearchName = Extract<ServerName, 'opensearch-2' | 'opensearch-3'>;
export const openSearchNames: readonly OpenSearchName[] = ['opensearch-2', 'opensearch-3'];

export interface OpenSearch extends Server {
  readonly port: number;
  readonly url: string;
  /** Where repositories of type fs may lie. */
  readonly repositories: string;
}

export interface OpenSearchOptions {
  /** Of the node, besides its own. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly heap?: string;
}

export async function startOpenSearch(name: OpenSearchName, options: OpenSearchOptions = {}): Promise<OpenSearch> {
  const program = await installed(name);
  const dir = temporaryDir(name);
  const repositories = join(dir, 'repositories');
  const config = join(dir, 'config');
  for (const each of [repositories, config]) mkdirSync(each);
  writeFileSync(join(config, 'opensearch.yml'), 'cluster.name: lifeboat-test\n');
  return await startOnFreePorts(2, async (port = 0, transport = 0) => {
    const url = `http://${host}:${port}`;
    const settings: Readonly<Record<string, string>> = {
      'network.host': host,
      'http.port': String(port),
      'transport.port': String(transport),
      'discovery.type': 'single-node',
      'path.data': join(dir, 'data'),
      'path.logs': join(dir, 'logs'),
      'path.repo': repositories,
      'node.processors': '2',
      'cluster.routing.allocation.disk.threshold_enabled': 'false',
      ...options.settings,
    };
    const args = Object.entries(settings).map(([key, value]) => `-E${key}=${value}`);
    const env = { OPENSEARCH_PATH_CONF: config, OPENSEARCH_JAVA_OPTS: `-Xms256m -Xmx${options.heap ?? '512m'}` };
    const server = await startServer({ program, args, env }, () => answers(url));
    return {
      ...server,
      ...{ port, url, repositories },
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

async function answers(url: string): Promise<boolean> {
  try {
    const reply = await fetch(`${url}/_cluster/health`, { signal: AbortSignal.timeout(5_000) });
    await reply.arrayBuffer();
    return reply.ok;
  } catch {
    return false;
  }
}
