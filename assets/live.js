// Pages that show how things stand: whenever a job or a node changes, they are brought up to date.

import { lineSign } from './stream.js';
import { watch } from './share.js';
import { refresh } from './regions.js';

watch(document.body.dataset.live, { changed: refresh, line: lineSign() });
