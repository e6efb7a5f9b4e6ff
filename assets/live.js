// Pages that show how things stand: whenever a job or a node changes, they are brought up to date.

import { open, lineSign } from './stream.js';
import { refresh } from './regions.js';

open(document.body.dataset.live, { job: refresh, node: refresh, line: lineSign() });
