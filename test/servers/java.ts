// Where Java lies on this machine. Servers need no more than a runtime.

import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** Where JAVA_HOME says, beside the java of PATH, and where distributions put them; null when none is new enough. */
export function javaHome(major: number): string | null {
  const parent = '/usr/lib/jvm';
  const there = existsSync(parent) ? readdirSync(parent).map((name) => join(parent, name)) : [];
  const homes = [process.env.JAVA_HOME ?? '', ...homesInPath(), ...there];
  return homes.find((home) => home !== '' && existsSync(join(home, 'bin/java')) && majorOf(home) >= major) ?? null;
}

/** Whether the program `java` is new enough: the first of PATH, which is the one that is started by that name. */
export function isJavaInPath(major: number): boolean {
  const [first] = homesInPath();
  return first !== undefined && majorOf(first) >= major;
}

function homesInPath(): string[] {
  const programs = (process.env.PATH ?? '').split(delimiter).map((dir) => join(dir, 'java'));
  return programs.filter((path) => existsSync(path)).map((path) => dirname(dirname(realpathSync(path))));
}

function majorOf(home: string): number {
  const file = join(home, 'release');
  const [, version] = /^JAVA_VERSION="(\d+)/m.exec(existsSync(file) ? readFileSync(file, 'utf8') : '') ?? [];
  return Number(version ?? 0);
}
