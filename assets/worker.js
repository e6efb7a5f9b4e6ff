// The shared worker: one for each person and address of events, both of which are its name.

import { Line } from './line.js';

const line = new Line(self.name.split(' ')[1]);
self.onconnect = ({ ports: [port] }) => line.join(port);
