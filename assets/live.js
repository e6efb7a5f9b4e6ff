// Pages that show how things stand: whenever something that they show changes, they are brought up
// to date.

import { connectionBanner, watch } from './share.js';
import { refreshFor } from './regions.js';

watch(document.body.dataset.live, { changed: refreshFor, connection: connectionBanner() });
