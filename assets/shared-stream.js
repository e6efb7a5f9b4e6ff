// One event stream for all tabs of a browser, which opens at most six connections to a server. It
// runs in a shared worker (worker.js) or, if the browser has none, in the page itself. Tabs use it
// through ports (share.js).
//
// A tab sends what it wants: changes (`live`), and the output of one job from an offset on (`at`,
// in bytes of each stream). The stream names all these jobs and starts at the smallest offsets;
// each tab receives what is new to it.

import { Stream } from './stream.js';

// Changes of tabs within this time open the stream once.
const GATHER_MS = 25;
// Tabs send a message every few seconds. A tab that doesn't has crashed.
const FORGET_MS = 30000;
// Characters that may be queued for a slow tab. It receives later output when it has caught up.
const UNTAKEN_MAX = 4000000;
// Jobs that one stream may name.
const NAMED_MAX = 64;
// Changes are passed on in batches; a larger batch is passed on as "anything may have changed".
const NEWS_MS = 50, NEWS_MAX = 500;

const [encoder, decoder] = [new TextEncoder(), new TextDecoder('utf-8', { ignoreBOM: true })];

/** The part of an output event after `offset`. Events with replaced bytes (U+FFFD) are never cut: they are not joined. */
export function after(event, offset) {
  if (event.offset >= offset) return event;
  const bytes = encoder.encode(event.data);
  const cut = offset - event.offset;
  const had = decoder.decode(bytes.subarray(0, cut));
  const line = event.line && event.line + had.split('\n').length - 1;
  return { ...event, offset, line, data: decoder.decode(bytes.subarray(cut)) };
}

export class SharedStream {
  #address;
  #tabs = new Set();
  #stream = new Stream({
    ask: () => this.#ask(),
    event: (name, data, id) => this.#event(name, data, id),
    connection: (isUp) => this.#connection(isUp),
    refused: (status, error) => this.#refused(status, error),
  });

  // In milliseconds of the server's clock: the stream's position, and the time of the last change.
  #at = 0;
  #changedAt = 0;
  #isUp = null;
  #gathers = 0;
  #news = [];

  constructor(address) {
    this.#address = address;
    setInterval(() => this.#forget(), FORGET_MS / 3);
  }

  /** Adds the tab at the other end of this port. */
  join(port) {
    const tab = { post: (message) => port.postMessage(message), lastSeenAt: 0, live: false, job: null };
    port.onmessage = ({ data }) => {
      tab.lastSeenAt = Date.now();
      if ('want' in data) this.#want(tab, data.want);
      else this.#taken(tab, data.took);
    };
    port.onclose = () => this.#leave(tab);
  }

  #want(tab, want) {
    if (!want) return this.#leave(tab);
    tab.post({ alive: true });
    const isNew = !this.#tabs.has(tab);
    if (!isNew && tab.job === want.job && tab.live === want.live) return;
    const { live, job, at, since } = want;
    const hadJob = isNew ? null : tab.job;
    Object.assign(tab, { live, job, at: { ...at }, untaken: 0, isBehind: false, isServed: false });
    this.#tabs.add(tab);
    this.#at ||= since;
    if (isNew && this.#isUp !== null) tab.post({ connected: this.#isUp });
    // The page may have been drawn before the last change.
    if (isNew && live && this.#changedAt > since - 1000) tab.post({ changed: null });
    if (!this.#stream.isOpen) this.#open();
    else if (job !== hadJob) this.#arrange();
  }

  #leave(tab) {
    if (this.#tabs.delete(tab)) this.#arrange();
  }

  #forget() {
    for (const tab of this.#tabs) if (Date.now() - tab.lastSeenAt > FORGET_MS) this.#leave(tab);
  }

  #taken(tab, count) {
    tab.untaken = Math.max(0, tab.untaken - count);
    if (!tab.isBehind || tab.untaken) return;
    tab.isBehind = false;
    this.#arrange();
  }

  /** Opens the stream again, as the tabs' wants have changed. */
  #arrange() {
    this.#gathers ||= setTimeout(() => this.#open(), GATHER_MS);
  }

  #open() {
    clearTimeout(this.#gathers);
    this.#gathers = 0;
    if (this.#tabs.size) return this.#stream.open();
    this.#stream.close();
    this.#isUp = null;
  }

  /** The address and position of the next stream, which serves each tab that isn't behind. */
  #ask() {
    const url = new URL(this.#address, location);
    url.searchParams.set('times', 'true');
    const named = new Map();
    for (const tab of this.#tabs) {
      tab.isServed = !tab.isBehind && (named.has(tab.job) || named.size < NAMED_MAX);
      if (!tab.job || !tab.isServed) continue;
      const { stdout, stderr } = named.get(tab.job) ?? tab.at;
      named.set(tab.job, { stdout: Math.min(stdout, tab.at.stdout), stderr: Math.min(stderr, tab.at.stderr) });
    }
    let from = `${this.#at}`;
    for (const [job, { stdout, stderr }] of named) {
      url.searchParams.append('job', job);
      from += `,${job}:${stdout}-${stderr}`;
    }
    return { address: url, from };
  }

  #event(name, data, id) {
    this.#at = parseInt(id, 10) || this.#at;
    if (name === 'output') return this.#output(data);
    this.#changedAt = this.#at;
    if (name === 'job') {
      for (const tab of this.#tabs) if (tab.job === data.id && tab.isServed) tab.post({ job: data });
    }
    if (!this.#news.length) setTimeout(() => this.#sendNews(), NEWS_MS);
    // The other events are `node` and `node-gone`: both mean that the node changed.
    this.#news.push(name === 'job' ? { job: data.id, node: data.nodeId } : { node: data.id });
  }

  #output(event) {
    for (const tab of this.#tabs) {
      if (tab.job !== event.jobId || !tab.isServed || event.end <= tab.at[event.stream]) continue;
      const news = after(event, tab.at[event.stream]);
      tab.at[event.stream] = event.end;
      tab.untaken += news.data.length;
      tab.post({ output: news });
      if (tab.untaken <= UNTAKEN_MAX) continue;
      [tab.isBehind, tab.isServed] = [true, false];
      this.#arrange();
    }
  }

  #sendNews() {
    const changed = this.#news.length > NEWS_MAX ? null : this.#news;
    this.#news = [];
    for (const tab of this.#tabs) if (tab.live) tab.post({ changed });
  }

  #connection(isUp) {
    this.#isUp = isUp;
    for (const tab of this.#tabs) tab.post({ connected: isUp });
  }

  #refused(status, { fields = {} }) {
    // A 404 concerns only the tabs of that job. After a 401 or 403, every page reloads and shows
    // the reason.
    const isGone = (tab) => status !== 404 || `job.${tab.job}` in fields;
    if (status !== 401 && status !== 403 && status !== 404) return;
    for (const tab of [...this.#tabs].filter(isGone)) {
      this.#leave(tab);
      tab.post({ reload: true });
    }
  }
}
