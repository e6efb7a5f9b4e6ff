// Updates a page whenever something that it shows has changed.

import { connectionBanner, watch } from './share.js';
import { refresh, refreshFor } from './regions.js';

// Files such as presets change without an event: whoever comes back from an editor sees them.
addEventListener('focus', refresh);
watch(document.body.dataset.live, { changed: refreshFor, connection: connectionBanner() });
