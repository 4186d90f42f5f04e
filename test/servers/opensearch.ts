import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed, type ServerName } from './install.ts';
import { answers, argumentsOf, nodeSettings } from './opensearch-node.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';

export type OpenSearchName = Extract<ServerName, 'opensearch-2' | 'opensearch-3'>;

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
    const settings = { ...nodeSettings(dir, { port, transport }), ...options.settings };
    const args = argumentsOf(settings);
    const env = { OPENSEARCH_PATH_CONF: config, ...(options.heap && { OPENSEARCH_JAVA_OPTS: `-Xmx${options.heap}` }) };
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
