import type { Command } from 'commander';
import { stringify } from 'yaml';
import { Failure } from '../../core/errors.ts';
import { nearest } from '../../core/settings.ts';
import { compatPlan, type PlanName, type Scope } from '../compat/plans.ts';
import {
  backUpScript,
  dropOldScript,
  type Run,
  restoreFileScript,
  restoreNewestScript,
  restorePointScript,
  testBackupScript,
  testRecoveryScript,
  verifyScript,
} from '../compat/scripts.ts';
import { SERVICES, type Service } from '../compat/services.ts';
import { withEnvFile } from '../compat/variables.ts';
import type { Bind, ExitCode, Session } from '../session.ts';

interface Options {
  readonly variables?: string;
  readonly test?: true;
  readonly postgresOnly?: true;
  readonly redisOnly?: true;
  readonly all?: true;
  readonly yes?: true;
  readonly terminateConnections?: true;
  readonly dropOld?: true;
}

interface Script {
  readonly services: readonly Service[];
  /** The plan of the configuration that it follows. */
  readonly plan: string;
  run(run: Run, options: Options, word: string | undefined): Promise<ExitCode>;
}

const restoreFileOrNewest: Script['run'] = (run, _options, file) =>
  file === undefined ? restoreNewestScript(run) : restoreFileScript(run, file);

const INFERSHIELD = { services: ['postgres', 'redis'], plan: 'daily' } as const;
const AIT_CORE = { services: SERVICES, plan: 'full' } as const;
const SCRIPTS: Readonly<Record<PlanName, Readonly<Record<string, Script>>>> = {
  infershield: {
    backup: { ...INFERSHIELD, run: (run, { test }) => (test ? testBackupScript(run) : backUpScript(run)) },
    restore: {
      ...INFERSHIELD,
      run: (run, _options, stamp) => {
        if (stamp === undefined) throw new Failure('usage', 'which backup? such as restore.sh 2024-02-23-020000');
        return restorePointScript(run, stamp);
      },
    },
    'test-dr': { ...INFERSHIELD, run: testRecoveryScript },
  },
  'ait-core': {
    'backup-all': { ...AIT_CORE, run: backUpScript },
    ...Object.fromEntries(SERVICES.map((each) => [`backup-${each}`, { ...only(each), run: backUpScript }])),
    'restore-all': {
      ...AIT_CORE,
      run: (run, { all }) => {
        if (!all) throw new Failure('usage', 'restore-all.sh -a restores all services', { hint: 'add -a' });
        return restoreNewestScript(run);
      },
    },
    ...Object.fromEntries(SERVICES.map((each) => [`restore-${each}`, { ...only(each), run: restoreFileOrNewest }])),
    'verify-backups': { ...AIT_CORE, run: verifyScript },
  },
};

/** The plan of a single service has its name. */
function only(service: Service): Omit<Script, 'run'> {
  return { services: [service], plan: service };
}

export function define(command: Command, bind: Bind): void {
  command
    .argument('<plan>', Object.keys(SCRIPTS).join(' or '))
    .argument('<script>', "the old script's name without .sh; 'config' prints the lifeboat.yaml of the variables")
    .argument('[backup]', 'the point or file that is restored')
    .option('--variables <file>', 'variables that are not exported')
    .option('--test', 'backup: do everything but keep it')
    .option('--postgres-only', 'restore: only PostgreSQL')
    .option('--redis-only', 'restore: only Redis')
    .option('-a, --all', 'restore-all: all services')
    .option('--terminate-connections', 'restore: end sessions that stand in the way')
    .option('--drop-old', 'restore nothing; remove the old data that restores have kept')
    .option('--yes', 'restore: do not ask for the name of what is overwritten')
    .addHelpText(
      'after',
      `
The scripts in compat/ call this with the variables that the old ones read. Examples:
  lifeboat compat infershield restore 2024-02-23-020000 --postgres-only
  lifeboat compat ait-core config > lifeboat.yaml`,
    );
  bind<Options>(command, async (session, options, [planWord = '', scriptWord = '', backup]) => {
    const plan = pick(planWord, Object.keys(SCRIPTS), 'plan') as PlanName;
    const env = await withEnvFile(session.ctx.env, options.variables);
    const own: Session = { ...session, ctx: { ...session.ctx, env } };
    if (scriptWord === 'config') {
      const { config } = compatPlan(plan, env, { services: SERVICES });
      session.print(config, () => stringify(config).trimEnd());
      return 0;
    }
    const scripts = SCRIPTS[plan];
    const script = scripts[pick(scriptWord, [...Object.keys(scripts), 'config'], 'script')];
    if (!script) throw new Error('a known script is in the table');
    const found = compatPlan(plan, env, scopeOf(script, options));
    const run = { session: own, plan: found, options, planName: script.plan };
    return await (options.dropOld ? dropOldScript(run) : script.run(run, options, backup));
  });
}

function scopeOf({ services }: Script, { postgresOnly, redisOnly, test }: Options): Scope {
  if (postgresOnly && redisOnly) throw new Failure('usage', 'either --postgres-only or --redis-only');
  const one = postgresOnly ? 'postgres' : redisOnly ? 'redis' : null;
  return { services: services.filter((each) => one === null || each === one), test };
}

function pick(word: string, known: readonly string[], what: string): string {
  if (known.includes(word)) return word;
  const near = nearest(word, known);
  throw new Failure('usage', `there is no ${what} ${word}`, {
    hint: near ? `did you mean ${near}?` : `known: ${known.join(', ')}`,
  });
}
