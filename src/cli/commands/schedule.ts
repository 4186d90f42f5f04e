import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import { Failure } from '../../core/errors.ts';
import { calendarOf } from '../calendar.ts';
import type { Config } from '../config/model.ts';
import { needPlaceFor } from '../output.ts';
import type { Bind } from '../session.ts';

interface Job {
  readonly name: string;
  readonly schedule: string;
  readonly timezone: string;
  /** One after the other, as long as they succeed. */
  readonly commands: readonly string[];
}

/** Runs for good, and is started again when it ends. */
interface Service {
  readonly name: string;
  readonly command: string;
  /** Held while it runs: another configuration on this machine has another one. */
  readonly lock: string;
}

interface Options {
  readonly format: 'cron' | 'systemd';
  readonly output?: string;
}
interface ScheduleFile {
  readonly name: string;
  readonly text: string;
}

/** Lines NAME='value', as systemd and a shell read them, where there are any: AWS knows some that we do not. */
const VARIABLES = '/etc/lifeboat/environment';
/** Plans that end at the same time: the backup of one is waited for before the other frees space. */
const WAIT = '1h';
/** Before a service that has ended is started again. */
const RESTART_SECONDS = 10;
/** It has no command: the service beside it has. */
const TIMER = /\.timer$/;
/** Where the system looks for them. */
const FOLDERS = { cron: '/etc/cron.d', systemd: '/etc/systemd/system' };

export function define(command: Command, bind: Bind): void {
  command.addHelpText('after', '\nExample: lifeboat schedule print --format systemd --output /etc/systemd/system');
  const print = command
    .command('print')
    .description('print the schedules of plans and drills')
    .addOption(new Option('--format <form>', 'cron or systemd').choices(['cron', 'systemd']).default('cron'))
    .option('--output <folder>', 'write the files there instead');
  print.addHelpText(
    'after',
    `
Examples:
  lifeboat schedule print --format systemd --output /etc/systemd/system
  lifeboat schedule print --format cron --output /etc/cron.d`,
  );
  bind<Options>(print, async (session, { format, output }) => {
    const config = await session.config();
    const jobs = jobsOf(config);
    const services = servicesOf(config);
    if (jobs.length + services.length === 0) {
      throw new Failure('settings-invalid', `${config.file}: no plan and no drill has a schedule`, {
        hint: 'add schedule: "0 2 * * *" to a plan',
      });
    }
    const files =
      format === 'cron'
        ? [{ name: prefixOf(config), text: cronText(jobs, services) }]
        : [...jobs.flatMap(unitsOf), ...services.map(serviceOf)].map(({ name, text }) => {
            return { name: `${prefixOf(config)}-${name}`, text };
          });
    const zones = format === 'cron' ? otherZones(jobs, session.ctx.now()) : [];
    const warnings = [...toBeSet(variablesOf(config)), ...zones];
    for (const text of warnings) session.note(`warning: ${text}`);
    if (output === undefined)
      session.print(
        { jobs, services, warnings },
        files.map((each) => `# ${FOLDERS[format]}/${each.name}\n${each.text}`).join('\n\n'),
      );
    else {
      const written = await writeAll(files, output, lifeboatFor(config));
      session.print({ jobs, services, warnings, written }, written.map((file) => `wrote ${file}`).join('\n'));
    }
    return 0;
  });
}

/** With the command of this configuration: what lacks it is somebody else's, and nothing is written. */
async function writeAll(files: readonly ScheduleFile[], folder: string, command: string): Promise<readonly string[]> {
  const written: string[] = [];
  for (const { name } of files) {
    const file = join(folder, name);
    await needPlaceFor(file, '--output');
    if (TIMER.test(name) || !existsSync(file)) continue;
    const before = (await readFile(file, 'utf8')).replaceAll(/[%\\]%/g, '%');
    if (before.includes(`${command} `)) continue;
    throw new Failure('exists', `${file} is there and does not run ${command}: another configuration has made it`, {
      hint: 'write into another folder and rename the files, or remove it',
    });
  }
  for (const { name, text } of files) {
    const file = join(folder, name);
    await writeFile(file, `${text}\n`);
    written.push(file);
  }
  return written;
}

function jobsOf(config: Config): readonly Job[] {
  const jobs: Job[] = [];
  const lifeboat = lifeboatFor(config);
  const add = (name: string, each: { schedule?: string | undefined; timezone: string }, ...words: string[]): void => {
    if (each.schedule === undefined) return;
    const commands = words.map((rest) => `${lifeboat} ${rest}`);
    jobs.push({ name, schedule: each.schedule, timezone: each.timezone, commands });
  };
  for (const [name, plan] of Object.entries(config.plans)) {
    // Nothing else applies the keep rules, and nothing is removed after a backup that is not whole.
    add(
      `plan-${name}`,
      plan,
      `backup --plan ${name} --scheduled`,
      ...(plan.keep ? [`prune --apply --wait ${WAIT}`] : []),
    );
  }
  for (const [name, drill] of Object.entries(config.drills)) add(`drill-${name}`, drill, `drill ${name}`);
  return jobs;
}

function servicesOf(config: Config): readonly Service[] {
  const isFollowed = config.components.some(({ common }) => common.follow);
  if (!isFollowed) return [];
  const lock = `/run/lifeboat-follow-${config.stack}-${digestOf(resolve(config.file))}.lock`;
  return [{ name: 'follow', command: `${lifeboatFor(config)} follow`, lock }];
}

/** Cron leaves out files with a dot in their names. */
function prefixOf({ stack }: Config): string {
  return `lifeboat-${stack.replaceAll('.', '-')}`;
}

/** Two configurations may be of one stack, as for two sites. */
function digestOf(path: string): string {
  return createHash('sha256').update(path).digest('hex').slice(0, 8);
}

function lifeboatFor({ file }: Config): string {
  return `lifeboat --config ${quoted(resolve(file))}`;
}

/** Neither cron nor systemd knows the variables of the shell in which all was tried. */
function variablesOf({ stores, components }: Config): readonly string[] {
  return [...new Set([...stores, ...components].flatMap(({ variables }) => variables))].sort();
}

function toBeSet(variables: readonly string[]): readonly string[] {
  if (variables.length === 0) return [];
  return [`the configuration needs ${variables.join(', ')}: write them into ${VARIABLES}, which only root may read`];
}

/** For /etc/cron.d. A percent sign would end the command there. */
function cronText(jobs: readonly Job[], services: readonly Service[]): string {
  const set = `set -a; [ ! -r ${VARIABLES} ] || . ${VARIABLES};`;
  // Started each minute where it does not run.
  const running = services.map(({ name, command, lock }) => {
    const once = `flock -n ${lock} ${command} --progress none`;
    return `# ${name}: runs for good\n* * * * * root ${set} ${once.replaceAll('%', '\\%')}`;
  });
  const lines = jobs.map(({ name, schedule, timezone, commands }) => {
    return `# ${name}\nCRON_TZ=${timezone}\n${schedule} root ${set} ${commands.join(' && ').replaceAll('%', '\\%')}`;
  });
  return [
    '# made by lifeboat schedule print',
    "# Debian's cron knows no CRON_TZ: it takes the times below in the machine's own zone. Where that is another one,",
    '# use lifeboat schedule print --format systemd.',
    'SHELL=/bin/sh',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ...lines,
    ...running,
  ].join('\n');
}

/** Jobs that a cron which does not know CRON_TZ starts at another time, where it runs on this machine. */
function otherZones(jobs: readonly Job[], now: Date): readonly string[] {
  const here = zoneOf(undefined, now);
  return jobs
    .filter(({ timezone }) => zoneOf(timezone, now) !== here)
    .map(
      ({ name, timezone }) =>
        `${name} is meant in ${timezone}, and this machine is in ${here}: Debian's cron, which knows no CRON_TZ, would ` +
        'start it at another time; use --format systemd there',
    );
}

/**
 * One name for the several that a zone may have; this machine's own unless one is given. UTC has too many for Node to
 * know them all, but is UTC in January and in July.
 */
function zoneOf(timeZone: string | undefined, now: Date): string {
  const zone = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
  const isUtc = [0, 6].every((month) => zone.format(Date.UTC(now.getUTCFullYear(), month)).endsWith(' GMT+00:00'));
  return isUtc ? 'UTC' : zone.resolvedOptions().timeZone;
}

function unitsOf({ name, schedule, timezone, commands }: Job): readonly ScheduleFile[] {
  const service = [
    '[Unit]',
    `Description=Lifeboat ${name}`,
    '[Service]',
    'Type=oneshot',
    `EnvironmentFile=-${VARIABLES}`,
    ...commands.map((command) => `ExecStart=/usr/bin/env ${command.replaceAll('%', '%%')}`),
  ];
  const timer = [
    '[Timer]',
    ...calendarOf(schedule).map((when) => `OnCalendar=${when} ${timezone}`),
    'Persistent=true',
    '[Install]',
    'WantedBy=timers.target',
  ];
  return [
    { name: `${name}.service`, text: service.join('\n') },
    { name: `${name}.timer`, text: timer.join('\n') },
  ];
}

function serviceOf({ name, command }: Service): ScheduleFile {
  const text = [
    '[Unit]',
    `Description=Lifeboat ${name}`,
    'After=network-online.target',
    'Wants=network-online.target',
    '[Service]',
    `EnvironmentFile=-${VARIABLES}`,
    `ExecStart=/usr/bin/env ${command.replaceAll('%', '%%')}`,
    'Restart=always',
    `RestartSec=${RESTART_SECONDS}`,
    '[Install]',
    'WantedBy=multi-user.target',
  ];
  return { name: `${name}.service`, text: text.join('\n') };
}

/** A word as a shell takes it. Plain ones stay as they are. */
function quoted(word: string): string {
  return /^[\w./:=@,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
