import { missing } from '../../../test/servers/need.ts';
import { suiteOn } from './driver.suite.ts';
import './restore.suite.ts';
import './snapshot.suite.ts';
import './odd.suite.ts';
import './faults.suite.ts';
import './follow.suite.ts';
import './markers.suite.ts';

const name = 'opensearch-2';
await suiteOn(name, await missing(name));
