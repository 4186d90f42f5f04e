import { join } from 'node:path';
import { stringify } from 'yaml';
import { PASSWORD_IN_URL } from '../../core/addresses.ts';
import type { Found } from './found.ts';

export interface InitChoice {
  readonly stack: string;
  readonly storeUrl: string;
  readonly endpoint: string | undefined;
  readonly passwordFile: string;
  readonly components: readonly Found[];
  /** What was answered; nobody was asked where it is left out. */
  readonly promised?: { readonly rpo: string; readonly rto: string | undefined };
}

/** What a backup each night keeps, with an hour for the capture itself. */
export const NIGHTLY_RPO = '25h';

export interface SecretFile {
  readonly file: string;
  readonly text: string;
}

/** Moves each URL that holds a password into a file in `folder`, which the configuration then refers to. */
export function withoutSecrets(
  found: readonly Found[],
  folder: string,
): { readonly components: readonly Found[]; readonly secrets: readonly SecretFile[] } {
  const secrets: SecretFile[] = [];
  const components = found.map((each) => {
    const { url } = each.settings;
    if (typeof url !== 'string' || url.includes('${') || !PASSWORD_IN_URL.test(url)) return each;
    const file = join(folder, `${each.name}.url`);
    secrets.push({ file, text: url });
    return { ...each, settings: { ...each.settings, url: `\${file:${file}}` } };
  });
  return { components, secrets };
}

/** The first lifeboat.yaml: complete, commented, and without a secret in it. */
export function configText(choice: InitChoice): string {
  const store = {
    format: 'restic',
    bucket: choice.storeUrl,
    ...(choice.endpoint === undefined ? {} : { endpoint: choice.endpoint, path_style: true }),
    password: `\${file:${choice.passwordFile}}`,
  };
  const components = choice.components.map(({ name, kind, settings, from }) => {
    return `  # seen in ${from}\n${indented({ [name]: { kind, tier: TIER, ...settings } })}`;
  });
  return `# Lifeboat's configuration. Every key: lifeboat config schema. Secrets are references, never values:
# \${env:NAME}, \${file:/path}, \${exec:command} or \${vault:secret/data/name#field}.
${stringify({ stack: choice.stack }).trimEnd()}

# Where recovery points lie. A second store at another place is what saves you when this one burns.
stores:
${indented({ main: store })}
# What is protected.
components:
${components.join('')}
${promises(choice)}
# When, and how long points are kept. lifeboat schedule print --format cron|systemd puts it to work.
plans:
  nightly:
    schedule: "0 2 * * *"
    timezone: UTC
    components: all
    keep: { daily: 14, weekly: 8, monthly: 12 }

# A backup that nobody has restored is a hope. This restores it into sandboxes and compares.
drills:
  weekly:
    schedule: "0 4 * * 0"
    point: latest
`;
}

const TIER = 'standard';

/** What nobody has promised is left to be decided: what the plan keeps by itself is all that stands there then. */
function promises({ promised }: InitChoice): string {
  const { rpo, rto } = promised ?? { rpo: NIGHTLY_RPO, rto: undefined };
  const head =
    '# How much may be lost at most (rpo), and how soon all must be back (rto). lifeboat lint says what can not be kept.';
  const undecided = [
    '# TO BE DECIDED by the owners of the data: nobody was asked. This rpo is no more than what the plan below keeps, so that',
    '# lifeboat status tells when a night was missed; drills measure how long recovery takes.',
  ];
  return [
    head,
    ...(promised ? [] : undecided),
    'tiers:',
    `  ${TIER}:`,
    `    rpo: ${rpo}`,
    rto === undefined ? '    # rto: 4h' : `    rto: ${rto}`,
    '',
  ].join('\n');
}

/** What must survive the loss of this machine, to be printed and kept elsewhere. */
export function recoveryKit(
  stack: string,
  stores: readonly { readonly name: string; readonly url: string; readonly key: string | null }[],
  file: string,
): string {
  const places = stores
    .map(({ name, url, key }) => `  ${name}: ${url}${key === null ? '' : `, opened by key ${key.slice(0, 8)}`}`)
    .join('\n');
  const keyed = stores.some(({ key }) => key !== null);
  const plain = stores.some(({ key }) => key === null);
  const things = [
    ...(keyed ? ['The password of the store. Without it nobody can read the backups, you included.'] : []),
    `The configuration, ${file}.`,
    `Where the stores are:\n${places}`,
  ];
  return [
    `Recovery kit of stack ${stack}: keep these ${things.length} things away from this machine.`,
    ...things.map((thing, at) => `${at + 1}. ${thing}`),
    'With them, on any machine: lifeboat restore latest',
    ...(keyed ? ["Without Lifeboat: restic -r STORE restore latest --target DIR, then each service's own tools"] : []),
    ...(plain ? ["Without Lifeboat, from a plain store: gunzip, then each service's own tools"] : []),
    '(docs/recover-without-lifeboat.md has each step).',
    ...(keyed
      ? ['Drills and lifeboat status tell when it no longer opens a store; lifeboat keys kit then prints a new one.']
      : []),
  ].join('\n');
}

function indented(value: unknown): string {
  return stringify(value, { lineWidth: 120 }).replaceAll(/^(?=.)/gm, '  ');
}
