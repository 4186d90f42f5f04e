// What is slow by nature: stock restic takes its time to start.

import { test } from 'node:test';
import { diesAnywhere, stockPrograms } from './stock-testing.ts';

for (const program of await stockPrograms()) {
  test(`whichever of all changes we die at, ${program.name} finds no error (fault 45)`, { skip: program.missing }, () =>
    diesAnywhere(program, 1),
  );
}
