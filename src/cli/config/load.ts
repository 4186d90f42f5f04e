// Reads lifeboat.yaml into exact types. Everything is checked at once, with its line; secrets are resolved only for
// the store or component that is used, so that `lifeboat list` needs no database password.

import { readFile } from 'node:fs/promises';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { nearest, PLACEHOLDER } from '../../core/settings.ts';
import { bucketPlugin, driverPlugin, formatPlugin } from '../plugins.ts';
import { isMissing, messageOf, tellingIssue } from './issues.ts';
import type { ComponentConfig, Config, StoreConfig } from './model.ts';
import { checkReferences } from './references.ts';
import { componentCommon, configSchema, storeCommon } from './schema.ts';
import { asksOthers, checkPlaceholders, resolveSecrets, variablesIn } from './secrets.ts';
import { stagingSettings } from './staging.ts';

/** Where lifeboat.yaml is looked for when it is not named. */
export const CONFIG_FILES = ['lifeboat.yaml', '/etc/lifeboat/lifeboat.yaml'] as const;
/** Stands for a secret while the shape is checked. */
const STAND_IN = 'secret';
/** A reference among braces, where YAML takes its own brace for one more of them. */
const UNQUOTED = /\{.*:\s*\$\{/;

export async function loadConfig(ctx: Context, named: string | undefined): Promise<Config> {
  const { file, text } = await readConfig(named);
  return await parseConfig(ctx, text, file);
}

export async function parseConfig(ctx: Context, text: string, file: string): Promise<Config> {
  const source = parseYaml(text, file);
  const top = source.check(configSchema, source.value, []);
  const stores = await mapEntries(top.stores, (name, raw) => parseStore(source, top, name, raw));
  const components = await mapEntries(top.components, (name, raw) => parseComponent(source, name, raw));
  const config: Config = { ...top, file, lineOf: source.lineOf, stores, components };
  checkReferences(config, source.problem);
  ctx.log.debug('configuration read', { file, stores: stores.length, components: components.length });
  return config;
}

async function readConfig(named: string | undefined): Promise<{ file: string; text: string }> {
  for (const file of named === undefined ? CONFIG_FILES : [named]) {
    try {
      return { file, text: await readFile(file, 'utf8') };
    } catch (cause) {
      if (systemCode(cause) === 'ENOENT') continue;
      throw new Failure('settings-invalid', `${file} can't be read (${systemCode(cause)})`, { cause });
    }
  }
  const looked = named ?? CONFIG_FILES.join(' or ');
  throw new Failure('settings-invalid', `there is no configuration at ${looked}`, {
    hint: 'run lifeboat init, or name the file with --config',
  });
}

type Path = readonly (string | number)[];
interface YamlSource {
  readonly value: unknown;
  /** Of the innermost key on the path that exists; null when there is none. */
  lineOf(path: Path): number | null;
  /** A failure that names the file, the line of `path` and what is wrong there. */
  problem(path: Path, message: string, hint?: string): Failure;
  /** Parses with zod; the first problem becomes a failure with its line and the nearest known name. */
  check<S extends z.ZodType>(schema: S, value: unknown, path: Path, known?: readonly string[]): z.output<S>;
  /** As far as it can be said before placeholders are resolved. */
  checkShape(schema: z.ZodType, value: Readonly<Record<string, unknown>>, path: Path, known?: readonly string[]): void;
}

function parseYaml(text: string, file: string): YamlSource {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const [error] = document.errors;
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    const shown = text.split('\n')[line - 1] ?? '';
    const why = error.code === 'DUPLICATE_KEY' ? 'two entries have this name' : error.message;
    const hint = UNQUOTED.test(shown) ? `within { } a reference needs quotes: "\${env:NAME}"` : undefined;
    throw new Failure('settings-invalid', `${file}:${line}:${col}: ${why}\n  ${line} | ${shown}`, { hint });
  }
  const lineAt = (path: Path): number | null => lineOf(document.contents, path, lines);
  const problem = (path: Path, message: string, hint?: string): Failure => {
    const at = lineAt(path);
    const where = path.length === 0 ? '' : `${path.join('.')}: `;
    return new Failure('settings-invalid', `${file}${at === null ? '' : `:${at}`}: ${where}${message}`, { hint });
  };
  return {
    value: document.toJS() ?? {},
    lineOf: lineAt,
    problem,
    check(schema, value, path, known = []) {
      const result = schema.safeParse(value);
      if (result.success) return result.data;
      throw firstProblem(result.error, { value, path, problem, known: [...known, ...shapeOf(schema)] });
    },
    checkShape(schema, value, path, known = []) {
      const { error } = schema.safeParse(standIns(value));
      const issues = (error?.issues ?? []).filter((issue) => !isReferred(value, issue.path));
      if (issues.length === 0) return;
      throw firstProblem(new z.ZodError(issues), { value, path, problem, known: [...known, ...shapeOf(schema)] });
    },
  };
}

/** What lies there is not known yet. */
function isReferred(value: unknown, path: readonly PropertyKey[]): boolean {
  const below = (within: unknown, step: PropertyKey): unknown =>
    typeof within === 'object' && within !== null ? Reflect.get(within, step) : undefined;
  const at = path.reduce(below, value);
  return typeof at === 'string' && at.search(PLACEHOLDER) >= 0;
}

interface Block {
  readonly value: unknown;
  readonly path: Path;
  readonly known: readonly string[];
  readonly problem: YamlSource['problem'];
}

function firstProblem(error: z.ZodError, { value, path, known, problem }: Block): Failure {
  const issue = tellingIssue(error.issues);
  if (!issue) return problem(path, 'is not valid');
  const at = [...path, ...issue.path.map((step) => (typeof step === 'number' ? step : String(step)))];
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    return unknownKey(problem, [...at, key], issue.path.length === 0 ? known : knownAt(path, issue.path));
  }
  const [missing = ''] = isMissing(issue) && issue.path.length === 1 ? issue.path : [];
  const others = Object.keys(z.record(z.string(), z.unknown()).safeParse(value).data ?? {});
  const misspelt = nearest(String(missing), missing === '' ? [] : others.filter((key) => !known.includes(key)));
  return misspelt === null
    ? problem(at, messageOf(issue))
    : unknownKey(problem, [...path, misspelt], [String(missing)]);
}

function unknownKey(problem: YamlSource['problem'], at: Path, known: readonly string[]): Failure {
  const near = nearest(String(at.at(-1)), known);
  return problem(at, 'this key is not known', near ? `did you mean ${near}?` : undefined);
}

/** The keys of the part of the configuration that lies deeper than its own block. */
function knownAt(path: Path, deeper: readonly PropertyKey[]): string[] {
  let schema: unknown = path.length === 0 ? configSchema : componentCommon;
  for (const step of deeper) {
    if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) schema = schema.unwrap();
    if (schema instanceof z.ZodArray) schema = schema.element;
    else if (schema instanceof z.ZodRecord) schema = schema.valueType;
    else if (schema instanceof z.ZodObject) schema = schema.shape[String(step)];
  }
  while (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) schema = schema.unwrap();
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => [...shapeOf(option)]);
  return [...shapeOf(schema)];
}

function shapeOf(schema: unknown): readonly string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

async function parseStore(
  source: YamlSource,
  top: z.output<typeof configSchema>,
  name: string,
  raw: unknown,
): Promise<StoreConfig> {
  const path = ['stores', name];
  const block = source.check(z.record(z.string(), z.unknown()), raw, path);
  const common = source.check(z.object(storeCommon.shape), block, path);
  const located = <T>(key: string, load: () => Promise<T>): Promise<T> =>
    load().catch((error: unknown) => {
      throw error instanceof Failure ? source.problem([...path, key], error.message, error.hint) : error;
    });
  const bucket = await located('bucket', () => bucketPlugin(common.bucket));
  const format = await located('format', () => formatPlugin(common.format));
  const bucketKeys = Object.keys(bucket.settings.shape);
  const formatKeys = Object.keys(format.settings.shape);
  const own = without(block, Object.keys(storeCommon.shape));
  const known = [...Object.keys(storeCommon.shape), ...bucketKeys, ...formatKeys];
  const split = (settings: Readonly<Record<string, unknown>>): { bucket: unknown; format: unknown } => ({
    bucket: source.check(bucket.settings, without(settings, formatKeys), path, known),
    format: source.check(format.settings, { ...without(settings, bucketKeys), stack: top.stack }, path, known),
  });
  for (const key of Object.keys(own)) {
    if (!known.includes(key)) throw unknownKey(source.problem, [...path, key], known);
  }
  checkReferred(source, path, own);
  source.checkShape(bucket.settings, without(own, formatKeys), path, known);
  source.checkShape(format.settings, { ...without(own, bucketKeys), stack: top.stack }, path, known);
  return {
    name,
    url: common.bucket,
    formatName: common.format,
    format: format.format,
    bucket,
    rateLimit: common.rate_limit,
    written: block,
    asksOthers: asksOthers(own),
    variables: variablesIn(own),
    settings: async (ctx) => split((await resolveSecrets(ctx, own, path.join('.'))) as Record<string, unknown>),
  };
}

async function parseComponent(source: YamlSource, name: string, raw: unknown): Promise<ComponentConfig> {
  const path = ['components', name];
  const block = source.check(z.record(z.string(), z.unknown()), raw, path);
  const common = source.check(componentCommon, block, path);
  const plugin = await driverPlugin(common.kind).catch((error: unknown) => {
    throw error instanceof Failure ? source.problem([...path, 'kind'], error.message, error.hint) : error;
  });
  const own = without(block, Object.keys(componentCommon.shape));
  const known = Object.keys(componentCommon.shape);
  const readable = (at: Path, settings: Readonly<Record<string, unknown>>, keys: readonly string[]) => {
    checkReferred(source, at, settings);
    source.checkShape(plugin.settings, settings, at, keys);
    return async (ctx: Context): Promise<unknown> => {
      const resolved = await resolveSecrets(ctx, settings, at.join('.'));
      source.check(plugin.settings, resolved, at, keys);
      return resolved;
    };
  };
  const external = common.sandbox?.external;
  return {
    name,
    common,
    driver: plugin.driver,
    written: block,
    variables: variablesIn([own, external]),
    settings: readable(path, own, known),
    staging: external && readable([...path, 'sandbox', 'external'], stagingSettings(own, external), []),
  };
}

/** What a placeholder names is had when it is needed; that there is such a kind of them is checked at once. */
function checkReferred(source: YamlSource, path: Path, own: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(own)) {
    try {
      checkPlaceholders(value);
    } catch (error) {
      throw error instanceof Failure ? source.problem([...path, key], error.message, error.hint) : error;
    }
  }
}

/** The same shape with each placeholder replaced by a word, to check the shape before any secret is known. */
function standIns(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return fill(value) as Record<string, unknown>;
}
function fill(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll(PLACEHOLDER, STAND_IN);
  if (Array.isArray(value)) return value.map(fill);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, fill(each)]));
}

function without(block: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(block).filter(([key]) => !keys.includes(key)));
}

async function mapEntries<T>(
  record: Readonly<Record<string, unknown>>,
  parse: (name: string, raw: unknown) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  for (const [name, raw] of Object.entries(record)) results.push(await parse(name, raw)); // the first problem first
  return results;
}

/** The line of the innermost node on `path` that exists. */
function lineOf(root: unknown, path: Path, lines: LineCounter): number | null {
  let node: unknown = root;
  let at: number | null = null;
  for (const step of path) {
    if (!isMap(node)) break;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
    if (!pair || !isScalar(pair.key)) break;
    if (pair.key.range) at = lines.linePos(pair.key.range[0]).line;
    node = pair.value;
  }
  return at;
}
