import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { bucketChecks } from '../../buckets/checks.ts';
import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { worst } from '../../core/verdict.ts';
import type { ComponentConfig, Config, StoreConfig } from '../config/model.ts';
import type { Bind } from '../session.ts';
import { openBucket, openStore, pickStores } from '../stack.ts';
import { bytesText, table } from '../terminal.ts';
import { kindText } from '../views.ts';

/** A source clock further off than this makes times of cuts and points disagree. */
const CLOCK_SKEW_MS_MAX = 5_000;

interface Options {
  readonly store?: readonly string[];
  readonly deep?: true;
}
interface Patient {
  readonly kind: 'component' | 'store';
  readonly name: string;
  readonly summary: string;
  readonly findings: readonly Finding[];
}

export function define(command: Command, bind: Bind): void {
  command
    .option('--store <names...>', 'only these stores, and no component')
    .option(
      '--deep',
      'with --store: put every behaviour that we rely on to the test, in a folder that is removed again',
    )
    .addHelpText(
      'after',
      `
Examples:
  lifeboat doctor
  lifeboat doctor --store offsite --deep    does this S3 keep its promises?`,
    );
  bind<Options>(command, async (session, options) => {
    const { ctx } = session;
    const config = await session.config();
    const components = options.store === undefined ? config.components : [];
    const stores = pickStores(config, options.store);
    const patients = await Promise.all([
      ...components.map((each) => examineComponent(ctx, each)),
      ...stores.map((each) => examineStore(ctx, config, each, options.deep === true)),
    ]);
    const verdict = worst(patients.flatMap(({ findings }) => findings.map((finding) => finding.verdict)));
    session.print({ verdict, examined: patients }, () => patients.map(patientText).join('\n\n'));
    return verdict === 'pass' ? 0 : 3;
  });
}

async function examineComponent(ctx: Context, config: ComponentConfig): Promise<Patient> {
  const who = { kind: 'component', name: config.name } as const;
  try {
    const component = config.driver.open(await config.settings(ctx));
    const probe = await component.probe(ctx);
    const size = probe.bytes === null ? '' : `, ${bytesText(probe.bytes)}`;
    const server = kindText({ kind: config.driver.kind, serverVersion: probe.version });
    const summary = `${server}${size}${probe.holdsData ? `, holds ${probe.holdsData}` : ', empty'}`;
    return { ...who, summary, findings: [reached(), clockFinding(probe), ...probe.findings] };
  } catch (error) {
    return { ...who, summary: config.driver.kind, findings: [failed('it answers', error)] };
  }
}

async function examineStore(ctx: Context, config: Config, store: StoreConfig, deep: boolean): Promise<Patient> {
  const who = { kind: 'store', name: store.name, summary: `${store.format.format} at ${store.url}` } as const;
  const findings: Finding[] = [];
  try {
    await using opened = await openStore(ctx, store);
    let points = 0;
    for await (const point of opened.store.list(ctx)) if (point.stack === config.stack) points += 1;
    const detail = `${points} points, ${bytesText(await opened.store.bytes(ctx))}`;
    findings.push({ check: 'it opens and lists its points', verdict: 'pass', detail });
  } catch (error) {
    findings.push(failed('it opens and lists its points', error));
  }
  if (deep) findings.push(...(await examineBucket(ctx, store)));
  return { ...who, findings };
}

async function examineBucket(ctx: Context, store: StoreConfig): Promise<readonly Finding[]> {
  const bucket = await openBucket(ctx, store, `/0-lifeboat-check-${randomUUID()}`);
  const findings: Finding[] = [];
  try {
    for (const { title, run } of bucketChecks) {
      ctx.progress({ task: store.name, phase: 'deep', items: findings.length, itemsTotal: bucketChecks.length });
      try {
        await run(ctx, bucket);
        findings.push({ check: title, verdict: 'pass', detail: 'as it should be' });
      } catch (error) {
        findings.push(failed(title, error));
      }
    }
  } finally {
    await bucket.close();
  }
  return findings;
}

function reached(): Finding {
  return { check: 'it answers', verdict: 'pass', detail: 'yes' };
}

function clockFinding({ clockSkewMs }: Probe): Finding {
  const check = 'its clock agrees with ours';
  if (clockSkewMs === null) return { check, verdict: 'unknown', detail: 'it does not tell the time' };
  const detail = `${Math.abs(clockSkewMs)} ms ${clockSkewMs < 0 ? 'behind' : 'ahead'}`;
  const right = Math.abs(clockSkewMs) <= CLOCK_SKEW_MS_MAX;
  return { check, verdict: right ? 'pass' : 'fail', detail, ...(right ? {} : { hint: 'set both clocks by NTP' }) };
}

/** What could not be seen for lack of a right is unknown; everything else that goes wrong is wrong. */
function failed(check: string, error: unknown): Finding {
  const hint = isFailure(error) ? error.hint : undefined;
  const verdict = isFailure(error, 'denied') ? 'unknown' : 'fail';
  return { check, verdict, detail: messageOf(error), ...(hint === undefined ? {} : { hint }) };
}

function patientText({ kind, name, summary, findings }: Patient): string {
  const rows = findings.map(({ check, verdict, detail, hint }) => [
    `  ${verdict}`,
    check,
    detail.split('\n').join(' '),
    hint ? `→ ${hint}` : '',
  ]);
  const body = table(
    ['', '', '', ''].map((title) => ({ title })),
    rows,
  );
  return `${kind} ${name}: ${summary}\n${body.replace(/^.*\n/, '')}`;
}
