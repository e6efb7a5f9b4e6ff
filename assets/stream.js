// A stream of server-sent events over fetch. Unlike EventSource it can choose its `Last-Event-ID`,
// reports how the server refused it, and can be opened again at once. It is independent of pages.

const WAIT_MIN = 500, WAIT_MAX = 15000;
// The server sends a keepalive every 15 s. A connection that is silent for longer than this is
// dead.
const SILENT_MAX = 40000;

/**
 * A stream that is kept open until `close()`. `on.ask()` returns `{address, from}`, where `from` is the id of the last
 * event; `on.event(name, data, id)` receives each event, `on.connection(isUp)` the connection's state, and
 * `on.refused(status, error)` the server's refusal.
 */
export class Stream {
  #on;
  #wait = WAIT_MIN;
  #abort = null;
  #timer = 0;

  constructor(on) {
    this.#on = on;
    addEventListener('online', () => this.#abort && this.open());
  }

  get isOpen() {
    return this.#abort !== null;
  }

  /** Opens the stream, or opens it again: at once in both cases. */
  open() {
    this.close();
    this.#wait = WAIT_MIN;
    this.#run((this.#abort = new AbortController()));
  }

  close() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
  }

  async #run(mine) {
    // A silent connection is aborted here. After close() or open(), `#abort` is not `mine` any
    // longer.
    const dead = new AbortController();
    mine.signal.addEventListener('abort', () => dead.abort());
    let failed = false;
    try {
      await this.#read(mine, dead);
    } catch {
      failed = true;
    }
    if (this.#abort !== mine) return;
    if (failed) this.#on.connection(false);
    // With jitter, so that not all browsers reconnect at the same moment.
    this.#timer = setTimeout(() => this.#run(mine), this.#wait * (0.7 + Math.random() * 0.6));
    this.#wait = Math.min(this.#wait * 2, WAIT_MAX);
  }

  async #read(mine, dead) {
    let silence = setTimeout(() => dead.abort(), SILENT_MAX);
    try {
      const { address, from } = this.#on.ask();
      const headers = { 'Last-Event-ID': from };
      const response = await fetch(address, { headers, signal: dead.signal, cache: 'no-store' });
      if (response.status >= 400 && response.status < 500 && response.status !== 429) {
        const error = await response.json().catch(() => ({}));
        if (this.#abort === mine) this.#on.refused(response.status, error);
      }
      if (!response.ok || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
        throw new Error(`the stream answered ${response.status}`);
      }
      if (this.#abort !== mine) return;
      this.#on.connection(true);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done || this.#abort !== mine) return;
        clearTimeout(silence);
        silence = setTimeout(() => dead.abort(), SILENT_MAX);
        this.#wait = WAIT_MIN;
        const blocks = (text + value).split('\n\n');
        text = blocks.pop();
        for (const block of blocks) {
          this.#dispatch(block);
          if (this.#abort !== mine) return;
        }
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #dispatch(block) {
    let [name, data, id] = ['message', '', ''];
    for (const line of block.split('\n')) {
      if (line.startsWith('data: ')) data = line.slice(6);
      else if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('id: ')) id = line.slice(4);
    }
    if (data) this.#on.event(name, JSON.parse(data), id);
  }
}
