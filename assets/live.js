// Updates a page whenever something that it shows has changed.

import { connectionBanner, watch } from './share.js';
import { refreshFor } from './regions.js';

watch(document.body.dataset.live, { changed: refreshFor, connection: connectionBanner() });
