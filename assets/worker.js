// The shared worker: one per user and address of events. Its name has both.

import { SharedStream } from './shared-stream.js';

const stream = new SharedStream(self.name.split(' ')[1]);
self.onconnect = ({ ports: [port] }) => stream.join(port);
