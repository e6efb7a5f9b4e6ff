// The shared worker: one for each person and address of events, both of which are its name.

import { SharedStream } from './shared-stream.js';

const stream = new SharedStream(self.name.split(' ')[1]);
self.onconnect = ({ ports: [port] }) => stream.join(port);
