// What every store format does. A format's test is a rig and a call; the bucket is a real one in memory.

import { describe } from 'node:test';
import { survives } from './suite/damage.suite.ts';
import { keepsJournals } from './suite/journal.suite.ts';
import { keepsWhatWasAcknowledged } from './suite/journal-crashes.suite.ts';
import { tellsDamageToJournals } from './suite/journal-damage.suite.ts';
import { outlivesMuch } from './suite/journal-lives.suite.ts';
import { keepsWhatItIsGiven } from './suite/parts.suite.ts';
import { belongsToOneStack, draftsAndPoints, frees } from './suite/points.suite.ts';
import type { StoreRig } from './suite/rig.suite.ts';

export function storeSuite(rig: StoreRig): void {
  describe(`${rig.name} store`, () => {
    keepsWhatItIsGiven(rig);
    draftsAndPoints(rig);
    belongsToOneStack(rig);
    frees(rig);
    survives(rig);
    keepsJournals(rig);
    tellsDamageToJournals(rig);
    keepsWhatWasAcknowledged(rig);
    outlivesMuch(rig);
  });
}
