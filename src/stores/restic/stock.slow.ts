// What is slow by nature: stock restic takes its time to start.

import { test } from 'node:test';
import { stockSuite } from './stock.suite.ts';
import { diesAnywhere, stockPrograms } from './stock-testing.ts';

const [newest, ...older] = await stockPrograms();
for (const program of older) stockSuite(program);
for (const program of [newest, ...older]) {
  test(`whichever of all changes we die at, ${program.name} finds no error (fault 45)`, { skip: program.missing }, () =>
    diesAnywhere(program, 1),
  );
}
