import type { Command } from 'commander';
import { worst } from '../../core/verdict.ts';
import { type ExaminedComponent, examineComponent } from '../doctor/component.ts';
import { type Patient, patientText } from '../doctor/patient.ts';
import { spaceFinding } from '../doctor/space.ts';
import { examineStore } from '../doctor/store.ts';
import { namesOption } from '../options.ts';
import type { Bind, Session } from '../session.ts';
import { pickStores } from '../stack.ts';

interface Options {
  readonly store?: readonly string[];
  readonly deep?: true;
}

export function define(command: Command, bind: Bind): void {
  command
    .addOption(namesOption('--store <stores>', 'only these stores, and no component'))
    .option('--deep', 'put every behaviour that we rely on to the test, in a folder that is removed again')
    .addHelpText(
      'after',
      `
Examples:
  lifeboat doctor
  lifeboat doctor --store offsite --deep    does this S3 keep its promises?`,
    );
  bind<Options>(command, async (session, options) => {
    const patients = await examine(session, options);
    const verdict = worst(patients.flatMap(({ findings }) => findings.map((finding) => finding.verdict)));
    const examined = patients.map(({ kind, name, summary, findings }) => ({ kind, name, summary, findings }));
    session.print({ verdict, examined }, () => patients.map(patientText).join('\n\n'));
    return verdict === 'pass' ? 0 : 3;
  });
}

async function examine(session: Session, options: Options): Promise<readonly Patient[]> {
  const { ctx } = session;
  const config = await session.config();
  const chosen = options.store === undefined ? config.components : [];
  const stores = pickStores(config, options.store);
  const names = config.stores.map(({ name }) => name);
  const components = Promise.all(chosen.map((each) => examineComponent(ctx, each, names)));
  const probedBytes = async (): Promise<number | null> => sumOf(await components);
  const deep = options.deep === true;
  const [first, second] = await Promise.all([
    components,
    Promise.all(stores.map((store) => examineStore(ctx, { store, stack: config.stack, deep, probedBytes }))),
  ]);
  if (options.store !== undefined) return second;
  const largest = first.reduce<number | null>(
    (most, { bytes }) => (bytes === null ? most : Math.max(most ?? 0, bytes)),
    null,
  );
  const otherwise = 'large restores then run in one job, or elsewhere with TMPDIR';
  const space = await spaceFinding('restores have room to unpack', ctx.scratch, { need: largest, otherwise });
  return [...first, ...second, { kind: 'machine', name: 'here', summary: 'scratch space', findings: [space] }];
}

function sumOf(components: readonly ExaminedComponent[]): number | null {
  const known = components.flatMap(({ bytes }) => (bytes === null ? [] : [bytes]));
  return known.length === 0 ? null : known.reduce((sum, bytes) => sum + bytes, 0);
}
