// What lifeboat.yaml holds besides the settings of drivers, buckets and store formats, which their owners declare.

import { z } from 'zod';
import { duration, size } from '../../core/settings.ts';
import { isTime, isUntil, UNTIL } from '../times.ts';

/** Of stores, components, plans and whatever else has one. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const name = z.string().regex(NAME, 'a name of letters, digits, dots, dashes and underscores');
const cron = z.string().describe("five cron fields, such as '0 2 * * *'");

const checkSchema = z
  .strictObject({
    name: z.string().describe('what the check is called in evidence'),
    sql: z
      .string()
      .optional()
      .describe('a question that answers one number: SQL, LogQL, or what the page of the kind says'),
    database: z.string().optional().describe('where sql runs, when the component has several databases'),
    command: z.string().optional().describe('a reading command that answers one number (redis)'),
    min: z.number().optional().describe('the least that is right'),
    max: z.number().optional().describe('the most that is right'),
    equals: z.number().optional().describe('exactly what is right'),
  })
  .refine((check) => (check.sql === undefined) !== (check.command === undefined), 'a check has either sql or command')
  .refine((check) => check.database === undefined || check.sql !== undefined, 'only sql is asked of a database')
  .refine(
    (check) => check.min !== undefined || check.max !== undefined || check.equals !== undefined,
    'a check needs min, max or equals',
  );

const headers = z.record(z.string(), z.string());
export const hookSchema = z
  .strictObject({
    name: z.string().optional().describe('what the hook is called in messages'),
    run: z.array(z.string()).min(1).optional().describe('a program and its arguments; no shell'),
    shell: z.string().optional().describe('a line for /bin/sh'),
    http: z
      .strictObject({
        url: z.string(),
        method: z.string().default('POST'),
        headers: headers.default({}),
        body: z.string().optional(),
      })
      .optional()
      .describe('a request whose answer must be 2xx'),
    sql: z.string().optional().describe('one statement to the component itself (postgresql)'),
    database: z.string().optional().describe('where sql runs, when the component has several databases'),
    env: headers.default({}).describe('for run and shell: variables, where secrets may stand'),
    deadline: duration.default(60_000).describe('after this it is ended and has failed'),
  })
  .refine(
    (hook) => [hook.run, hook.shell, hook.http, hook.sql].filter((each) => each !== undefined).length === 1,
    'a hook has one of run, shell, http and sql',
  )
  .refine(
    (hook) => !/\$\{[a-z-]+:/.test([...(hook.run ?? []), hook.shell].join(' ')),
    'a secret in a command line can be seen by everybody on the machine: give it in env',
  );
const hooks = z.array(hookSchema).default([]);

export const sandboxSchema = z.strictObject({
  external: z
    .record(z.string(), z.unknown())
    .describe('the settings of a staging service; what it is to hold is as in the component unless it is named here'),
  isolated: z.boolean().default(false).describe('you say that nothing which is written there has an effect elsewhere'),
});

/** More often tells nothing more: logs are shipped every second or so. */
const MARKERS_MS_MIN = 1000;

/** What every component has, whatever its kind. */
export const componentCommon = z.object({
  kind: z.string().describe('postgresql, redis, s3, elasticsearch, loki, kafka, zookeeper or files'),
  tier: z.string().optional().describe('the tier whose objectives hold for this component'),
  follow: z.boolean().default(false).describe('lifeboat follow ships its log, so that any moment can be restored'),
  markers: duration
    .refine((ms) => ms >= MARKERS_MS_MIN, 'a duration of at least 1s')
    .optional()
    .describe('while it is followed a small marker is written into its data this often, to measure losses by'),
  restore_after: z.array(z.string()).default([]).describe('components that are restored before this one'),
  checks: z.array(checkSchema).default([]).describe('what must hold after a restore and in drills'),
  sandbox: sandboxSchema.optional().describe('where drills restore it to, instead of a server started for them'),
  hooks: z
    .strictObject({ before_capture: hooks, after_capture: hooks, before_restore: hooks, after_restore: hooks })
    .optional()
    .describe('what is run around a capture or a restore; those after it always'),
});

/** What every store has, whatever its format and bucket. */
export const storeCommon = z.object({
  format: z.string().describe('restic or plain'),
  bucket: z.string().describe('a directory, or s3://BUCKET/PREFIX'),
  rate_limit: size.optional().describe('bytes per second that may be sent and received'),
});

export const keepSchema = z
  .strictObject({
    last: z.number().int().positive().optional().describe('the newest N points'),
    hourly: z
      .number()
      .int()
      .positive()
      .optional()
      .describe('the newest point of each of the last N hours that have one'),
    daily: z.number().int().positive().optional().describe('… of N days'),
    weekly: z.number().int().positive().optional().describe('… of N weeks'),
    monthly: z.number().int().positive().optional().describe('… of N months'),
    yearly: z.number().int().positive().optional().describe('… of N years'),
    within: duration.optional().describe('everything younger than this'),
  })
  .refine((keep) => Object.values(keep).some((value) => value !== undefined), 'a keep rule names at least one amount');

const planSchema = z.strictObject({
  schedule: cron.optional(),
  timezone: z.string().default('UTC').describe('of the schedule and of what counts as a day'),
  components: z.union([z.literal('all'), z.array(name).min(1)]).default('all'),
  to: z.array(name).min(1).optional().describe('the stores; all when left out'),
  keep: z
    .union([keepSchema, z.record(name, keepSchema)])
    .optional()
    .describe('one rule, or one for each store'),
  ordering: z
    .enum(['parallel', 'references_first'])
    .default('parallel')
    .describe(
      'references_first: what references point to is captured after what points to it, so that nothing dangles',
    ),
  hooks: z
    .strictObject({ before: hooks, after: hooks })
    .optional()
    .describe('what is run around the captures of all components'),
});

const drillSchema = z
  .strictObject({
    schedule: cron.optional(),
    timezone: z.string().default('UTC'),
    point: z.string().optional().describe("'latest' when left out, 'latest-proved', an id or the beginning of one"),
    at: z
      .string()
      .refine(isTime, "a time such as '15m ago'")
      .optional()
      .describe("instead of a point: each component as it was then, '15m ago', from a point of its own and its log"),
    until: z
      .string()
      .refine(isUntil, `where a replay ends: ${UNTIL}`)
      .optional()
      .describe(
        "replays the log on a point: 'cut=latest' makes the latest point of an earlier one, and compares the two",
      ),
    store: name.optional().describe('restore from this store; the first that holds the point when left out'),
    components: z.union([z.literal('all'), z.array(name).min(1)]).default('all'),
  })
  .refine(({ point, at }) => point === undefined || at === undefined, 'either a point or a time')
  .refine(({ until, at }) => until === undefined || at === undefined, 'either at or until');

const referenceSchema = z.strictObject({
  name: z.string().describe('what the check is called'),
  from: z
    .strictObject({
      component: name,
      sql: z.string().describe('a query of one column (postgresql)'),
      database: z.string().optional().describe('where sql runs, when the component has several databases'),
    })
    .describe('whose values'),
  to: z
    .strictObject({ component: name, in: z.string().describe('a bucket, an index, a topic, a pattern of keys') })
    .describe('… must be names there'),
  missing_max: z.number().int().nonnegative().default(0).describe('values that may point to nothing'),
  orphans_max: z
    .number()
    .int()
    .nonnegative()
    .optional()
    .describe('names that nothing may point to; not counted when left out'),
});

const tierSchema = z.strictObject({
  rto: duration.optional().describe('recovered within'),
  rpo: duration.optional().describe('at most this much lost'),
});

/** Of Prometheus, or how several begin: '*' alone would be all there are. */
const METRIC = /^[A-Za-z_:][^\s*]*\*?$/;

const alertsSchema = z.strictObject({
  rules: z
    .array(z.string().min(1))
    .min(1)
    .describe('files with rules of Prometheus, or PrometheusRule manifests, relative to the configuration'),
  emitted: z
    .array(z.string().regex(METRIC, "the name of a metric, or its beginning and '*'"))
    .default([])
    .describe("metrics that something emits, by name or as 'node_*': lint finds alerts on all others"),
});

export const configSchema = z.strictObject({
  stack: name.describe('what this stack is called; a store belongs to one stack'),
  version: z.string().optional().describe("the application's version, kept in each manifest"),
  stores: z.record(name, z.unknown()),
  components: z.record(name, z.unknown()),
  tiers: z.record(name, tierSchema).default({}),
  plans: z.record(name, planSchema).default({}),
  drills: z.record(name, drillSchema).default({}),
  references: z.array(referenceSchema).default([]).describe('what must fit together after a restore and in drills'),
  alerts: alertsSchema.optional().describe('alerts that lint looks at; nothing else reads them'),
  parallel: z.number().int().min(1).max(64).default(4).describe('components captured or restored at the same time'),
});
