// Pages that show how things stand: whenever something that they show changes, they are brought up
// to date.

import { lineSign, watch } from './share.js';
import { refreshFor } from './regions.js';

watch(document.body.dataset.live, { changed: refreshFor, line: lineSign() });
