import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import { Failure } from '../../core/errors.ts';
import { calendarOf } from '../calendar.ts';
import type { Config } from '../config/model.ts';
import type { Bind } from '../session.ts';

interface Job {
  readonly name: string;
  readonly schedule: string;
  readonly timezone: string;
  readonly command: string;
}

export function define(command: Command, bind: Bind): void {
  const print = command
    .command('print')
    .description('print the schedules of plans and drills')
    .addOption(new Option('--format <form>', 'cron or systemd').choices(['cron', 'systemd']).default('cron'));
  print.addHelpText('after', '\nExample: lifeboat schedule print --format cron > /etc/cron.d/lifeboat');
  bind<{ format: 'cron' | 'systemd' }>(print, async (session, { format }) => {
    const config = await session.config();
    const jobs = jobsOf(config);
    if (jobs.length === 0) {
      throw new Failure('settings-invalid', `${config.file}: no plan and no drill has a schedule`, {
        hint: 'add schedule: "0 2 * * *" to a plan',
      });
    }
    session.print({ jobs }, format === 'cron' ? cronText(jobs) : systemdText(jobs));
    return 0;
  });
}

function jobsOf(config: Config): readonly Job[] {
  const jobs: Job[] = [];
  const add = (name: string, each: { schedule?: string | undefined; timezone: string }, words: string): void => {
    if (each.schedule === undefined) return;
    const command = `lifeboat --config ${quoted(resolve(config.file))} ${words}`;
    jobs.push({ name, schedule: each.schedule, timezone: each.timezone, command });
  };
  for (const [name, plan] of Object.entries(config.plans)) {
    add(`plan-${name}`, plan, `backup --plan ${name} --scheduled`);
  }
  for (const [name, drill] of Object.entries(config.drills)) add(`drill-${name}`, drill, `drill ${name}`);
  return jobs;
}

/** For /etc/cron.d. A percent sign would end the command there. */
function cronText(jobs: readonly Job[]): string {
  const lines = jobs.map(({ name, schedule, timezone, command }) => {
    return `# ${name}\nCRON_TZ=${timezone}\n${schedule} root ${command.replaceAll('%', '\\%')}`;
  });
  return [
    '# made by lifeboat schedule print',
    'SHELL=/bin/sh',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ...lines,
  ].join('\n');
}

function systemdText(jobs: readonly Job[]): string {
  return jobs
    .map(({ name, schedule, timezone, command }) =>
      [
        `# /etc/systemd/system/lifeboat-${name}.service`,
        '[Unit]',
        `Description=Lifeboat ${name}`,
        '[Service]',
        'Type=oneshot',
        `ExecStart=/usr/bin/env ${command.replaceAll('%', '%%')}`,
        `# /etc/systemd/system/lifeboat-${name}.timer`,
        '[Timer]',
        ...calendarOf(schedule).map((when) => `OnCalendar=${when} ${timezone}`),
        'Persistent=true',
        '[Install]',
        'WantedBy=timers.target',
      ].join('\n'),
    )
    .join('\n\n');
}

function quoted(word: string): string {
  return /^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
