import type { Command } from 'commander';
import { configSchemaJson } from '../config/json-schema.ts';
import type { Bind } from '../session.ts';

export function define(command: Command, bind: Bind): void {
  command.addHelpText('after', '\nExamples:\n  lifeboat config check\n  lifeboat config schema > lifeboat.schema.json');
  const schema = command.command('schema').description('print the JSON Schema of lifeboat.yaml, for editors');
  schema.addHelpText('after', '\nExample: lifeboat config schema > lifeboat.schema.json');
  bind(schema, async (session) => {
    const json = await configSchemaJson();
    session.print(json, JSON.stringify(json, null, 2));
    return 0;
  });
  const check = command.command('check').description('read the configuration and say whether it is right');
  bind(check, async (session) => {
    const config = await session.config();
    const components = config.components.map(({ name }) => name);
    const stores = config.stores.map(({ name }) => name);
    session.print({ file: config.file, stack: config.stack, components, stores }, `${config.file} is right`);
    return 0;
  });
}
