import { dirname } from 'node:path';
import { installed } from '../../../test/servers/install.ts';
import { missing } from '../../../test/servers/need.ts';
import { suiteOn } from './driver.suite.ts';
import './restore.suite.ts';
import './snapshot.suite.ts';
import './odd.suite.ts';
import './faults.suite.ts';

const name = 'opensearch-2';
const skip = await missing(name);
// Sandboxes run what is found in PATH.
if (skip === false) process.env.PATH = `${dirname(await installed(name))}:${process.env.PATH}`;
suiteOn(name, skip);
