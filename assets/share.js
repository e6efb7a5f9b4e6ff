// A page's connection to the event stream that all tabs of the browser share (shared-stream.js). A
// hidden tab wants nothing, and resumes when it is shown again.

import { after, SharedStream } from './shared-stream.js';
import { leave } from './regions.js';

// How often a tab sends a message to the worker. If there is no reply, the worker has crashed, and
// a new one is started.
const BEAT_MS = 5000;
// A worker that fails to start is started again: another page's process, in which it was, may have
// ended just now. After so many failures in a row, the page has a stream of its own.
const FAILURES_MAX = 3, FAILURE_PAUSE_MS = 500;

// Streams of this page, by address, for browsers without shared workers.
const own = new Map();
let failures = 0;

/** Returns the worker that early.js has started, once. Its port holds what has arrived. */
function takeEarly(name) {
  const early = window.earlyWorker;
  window.earlyWorker = null;
  return early?.name === name && !early.worker.hasFailed ? early.worker : null;
}

/** Returns a port to the shared stream. `onLost` is called if the worker fails. */
function reach(address, onLost) {
  if (window.SharedWorker && failures < FAILURES_MAX) {
    const name = `${document.body.dataset.user} ${address}`;
    const worker = takeEarly(name) ?? new SharedWorker(new URL('worker.js', import.meta.url), { name, type: 'module' });
    worker.onerror = () => {
      failures += 1;
      setTimeout(onLost, FAILURE_PAUSE_MS);
    };
    worker.port.addEventListener('message', () => (failures = 0), { once: true });
    return worker.port;
  }
  const { port1, port2 } = new MessageChannel();
  own.set(address, own.get(address) ?? new SharedStream(address));
  own.get(address).join(port1);
  return port2;
}

class Tab {
  #address;
  #want;
  #onMessage;
  #port = null;
  #isAnswered = true;
  #isLeft = false;

  /** `want()` returns what the tab wants now, or null; `onMessage(message)` receives messages. */
  constructor(address, want, onMessage) {
    [this.#address, this.#want, this.#onMessage] = [address, want, onMessage];
    this.#connect();
    setInterval(() => this.#beat(), BEAT_MS);
    document.addEventListener('visibilitychange', () => this.sendWant());
    addEventListener('pagehide', () => this.#leave(true));
    addEventListener('pageshow', () => this.#leave(false));
  }

  #connect() {
    this.#port?.close();
    const port = reach(this.#address, () => port === this.#port && this.#connect());
    this.#port = port;
    port.onmessage = ({ data }) => {
      if (data.alive) this.#isAnswered = true;
      else if (data.reload) leave();
      else this.#onMessage(data);
    };
    port.onclose = () => port === this.#port && this.#connect();
    this.sendWant();
  }

  /** Sends what the tab wants now. */
  sendWant() {
    const want = document.hidden || this.#isLeft ? null : this.#want();
    this.#port.postMessage({ want: want && { since: Number(document.documentElement.dataset.now), ...want } });
    return want;
  }

  took(count) {
    this.#port.postMessage({ took: count });
  }

  #beat() {
    if (!this.#isAnswered) {
      this.#isAnswered = true;
      return this.#connect();
    }
    if (this.sendWant()) this.#isAnswered = false;
  }

  #leave(isLeft) {
    if (this.#isLeft === isLeft) return;
    this.#isLeft = isLeft;
    this.sendWant();
  }
}

/** Calls `on.changed(news)` when jobs or nodes have changed (`{job, node}` or `{node}` each; null: anything may have), and `on.connection(isUp)`. */
export function watch(events, on) {
  new Tab(events, () => ({ live: true, job: null }), (message) => {
    if ('changed' in message) on.changed(message.changed);
    if ('connected' in message) on.connection(message.connected);
  });
}

/**
 * Follows a job. Calls `on.status(job)` for each state, `on.output(event)`, which may return a promise, for each piece of
 * output in order, then `on.done(job)`; and `on.connection(isUp)`.
 */
export function follow(_url, events, job, on) {
  const at = { stdout: 0, stderr: 0 };
  let isOver = false;
  // Handles one message after the other, each when the previous one is drawn.
  let turn = Promise.resolve();
  const inTurn = (act) => (turn = turn.then(act).catch((error) => console.error(error)));

  async function take(event) {
    // After a tab was hidden, output may arrive again, cut differently.
    if (event.end > at[event.stream]) {
      const news = after(event, at[event.stream]);
      at[event.stream] = event.end;
      await on.output(news);
    }
    tab.took(event.data.length);
  }

  function state(view) {
    if (isOver) return;
    isOver = view.status !== 'QUEUED' && view.status !== 'RUNNING';
    if (!isOver) return on.status(view);
    tab.sendWant();
    on.done(view);
  }

  const tab = new Tab(events, () => (isOver ? null : { live: false, job, at }), (message) => {
    if (message.output) inTurn(() => take(message.output));
    if (message.job) inTurn(() => state(message.job));
    if ('connected' in message) on.connection(message.connected);
  });
}

/** Shows or hides the banner about a lost connection, but not for a short restart. */
export function connectionBanner() {
  const sign = document.getElementById('connection-lost');
  let timer = 0;
  return (isUp) => {
    clearTimeout(timer);
    if (isUp) sign.hidden = true;
    else timer = setTimeout(() => (sign.hidden = false), 1000);
  };
}
