// One line to the server for all tabs of a browser, which has six connections to it and not one
// more. It runs in a shared worker (worker.js) or, where there is none, in the page itself; the
// tabs talk to it through ports (share.js).
//
// A tab says what it wants: to hear what changes (`live`), and the output of one job from where it
// is (`at`, bytes of each stream). The one stream names all their jobs and starts where the tab
// that is furthest back is; each tab is passed what is new to it.

import { Stream } from './stream.js';

// Tabs that come and go together ask once.
const GATHER_MS = 25;
// A tab says every few seconds that it is there; a crashed one doesn't.
const FORGET_MS = 30000;
// Characters that may be on their way to a tab that is slow; what comes then it gets later, from
// where it is.
const UNTAKEN_MAX = 4000000;
// Jobs that one stream may name.
const NAMED_MAX = 64;
// News is passed on in batches; of more than this, only that there was much.
const NEWS_MS = 50, NEWS_MAX = 500;

const [encoder, decoder] = [new TextEncoder(), new TextDecoder('utf-8', { ignoreBOM: true })];

/** What of an output event lies after `offset`, of which the tab has it all. Events in which bytes are not as they were are never joined. */
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

  // By the server's clock, in milliseconds: where the stream is, and when something last changed.
  #at = 0;
  #changedAt = 0;
  #isUp = null;
  #gathers = 0;
  #news = [];

  constructor(address) {
    this.#address = address;
    setInterval(() => this.#forget(), FORGET_MS / 3);
  }

  /** Another tab, at the other end of this port. */
  join(port) {
    const tab = { post: (message) => port.postMessage(message), lastSeenAt: 0, live: false, job: null };
    port.onmessage = ({ data }) => {
      lastSeenAt = Date.now();
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
    // What was told while its page was on the way.
    if (isNew && live && this.#changedAt > since - 1000) tab.post({ changed: null });
    if (!this.#stream.isOpen) this.#open();
    else if (job !== hadJob) this.#arrange();
  }

  #leave(tab) {
    if (this.#tabs.delete(tab)) this.#arrange();
  }

  #forget() {
    for (const tab of this.#tabs) if (Date.now() - lastSeenAt > FORGET_MS) this.#leave(tab);
  }

  #taken(tab, count) {
    tab.untaken = Math.max(0, tab.untaken - count);
    if (!tab.isBehind || tab.untaken) return;
    tab.isBehind = false;
    this.#arrange();
  }

  /** The stream as it is no longer fits what the tabs want. */
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

  /** From here on the stream serves each tab that isn't behind; until now it began after what some of them have. */
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
    // The others are `node` and `node-gone`: to look again is right for both.
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
    // A job that is gone harms no other; signed out, or with a lower role, every page says so
    // itself.
    const isGone = (tab) => status !== 404 || `job.${tab.job}` in fields;
    if (status !== 401 && status !== 403 && status !== 404) return;
    for (const tab of [...this.#tabs].filter(isGone)) {
      this.#leave(tab);
      tab.post({ reload: true });
    }
  }
}
