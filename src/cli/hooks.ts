// The hooks of the configuration, ready to be run: their secrets are resolved only then.

import { z } from 'zod';
import type { Component } from '../core/component.ts';
import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { run } from '../core/process.ts';
import { PLACEHOLDER } from '../core/settings.ts';
import type { Around, Hook } from '../engine/hooks.ts';
import type { StackComponent } from '../engine/model.ts';
import type { ComponentConfig, Config } from './config/model.ts';
import { hookSchema } from './config/schema.ts';
import { resolveSecrets } from './config/secrets.ts';

type HookConfig = z.output<typeof hookSchema>;
const resolvedSchema = z.object({ env: hookSchema.shape.env, http: hookSchema.shape.http });

export function componentHooks({ name, common }: ComponentConfig, component: Component): StackComponent['hooks'] {
  if (!common.hooks) return undefined;
  const { before_capture, after_capture, before_restore, after_restore } = common.hooks;
  const open = (all: readonly HookConfig[], when: string): readonly Hook[] =>
    all.map((each) => hookOf(each, { of: name, when, component }));
  return {
    capture: { before: open(before_capture, 'before_capture'), after: open(after_capture, 'after_capture') },
    restore: { before: open(before_restore, 'before_restore'), after: open(after_restore, 'after_restore') },
  };
}

export function planHooks(config: Config, name: string | undefined): Around | undefined {
  const plan = name === undefined ? undefined : config.plans[name];
  if (name === undefined || !plan?.hooks) return undefined;
  const open = (all: readonly HookConfig[], when: string): readonly Hook[] =>
    all.map((each) => hookOf(each, { of: name, when, component: null }));
  return { before: open(plan.hooks.before, 'before'), after: open(plan.hooks.after, 'after') };
}

interface Place {
  /** The component or plan that it belongs to. */
  readonly of: string;
  readonly when: string;
  readonly component: Component | null;
}

function hookOf(config: HookConfig, place: Place): Hook {
  const { sql } = config;
  if (sql !== undefined && !place.component?.execute) {
    throw new Failure('settings-invalid', `${place.of}: a hook with sql is for components that run statements`);
  }
  return {
    name: config.name ?? nameOf(config),
    deadlineMs: config.deadline,
    async run(ctx) {
      if (sql !== undefined) await place.component?.execute?.(ctx, sql, config.database);
      else await runOutside(ctx, config, place);
    },
  };
}

/** As it stands in the configuration: secrets are not in it yet. */
function nameOf({ run: command, shell, http, sql }: HookConfig): string {
  return command?.join(' ') ?? shell ?? http?.url ?? sql ?? '';
}

async function runOutside(ctx: Context, config: HookConfig, { of, when }: Place): Promise<void> {
  const resolved = await resolveSecrets(ctx, { env: config.env, http: config.http }, `hooks of ${of}`);
  const { env, http } = resolvedSchema.parse(resolved);
  if (http) return await request(ctx, http);
  const [program = '', ...args] = config.run ?? ['/bin/sh', '-c', config.shell ?? ''];
  try {
    await run(ctx, { program, args, env: { LIFEBOAT_HOOK: when, LIFEBOAT_HOOK_OF: of, ...env } });
  } catch (error) {
    throw withoutSecrets(error, secretsIn(config.env, env));
  }
}

/** What stands for references in the environment of a hook, and the whole of each such variable. */
function secretsIn(written: Readonly<Record<string, string>>, resolved: Readonly<Record<string, string>>): string[] {
  return Object.entries(written).flatMap(([name, text]) => {
    if (text === text.replace(PLACEHOLDER, '')) return [];
    const literals = text.replace(PLACEHOLDER, '\0').split('\0');
    const pattern = literals.map((each) => each.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('(.*)');
    return [...(new RegExp(`^${pattern}$`, 's').exec(resolved[name] ?? '') ?? [])];
  });
}

/** A program may have printed what it was given, and what it printed last is in the message. */
function withoutSecrets(error: unknown, secrets: readonly string[]): unknown {
  const told = secrets.filter((each) => each !== '' && messageOf(error).includes(each));
  if (!isFailure(error) || told.length === 0) return error;
  const longestFirst = told.toSorted((a, b) => b.length - a.length);
  const message = longestFirst.reduce((text, secret) => text.replaceAll(secret, '***'), error.message);
  return new Failure(error.code, message, { hint: error.hint });
}

async function request(ctx: Context, http: NonNullable<HookConfig['http']>): Promise<void> {
  const { url, method, headers, body } = http;
  const { host } = new URL(url);
  const answer = await fetch(url, {
    method,
    headers,
    signal: ctx.signal,
    ...(body === undefined ? {} : { body }),
  }).catch((cause: unknown) => {
    ctx.signal.throwIfAborted();
    throw new Failure('unreachable', `${host} does not answer`, { cause });
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Failure('program-failed', `${host} answered ${answer.status}`);
}
