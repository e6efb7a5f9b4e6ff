// A stream of server-sent events by fetch: unlike EventSource it can be closed while the tab is hidden (each open one
// holds one of the browser's six connections to the server) and go on later from the last event, by `Last-Event-ID`.

const WAIT_MIN = 500, WAIT_MAX = 15000;

/**
 * Opens `address()` and calls `on[event](data)` for each event, which may give a promise: then the next one waits for it.
 * `on.line(isUp)` hears of the connection. `from()` says after which id it starts, instead of the last one that came;
 * `gate(signal)` is waited for before each connection, and what it gives is called when that one is over.
 * Gives `close()`, which ends it for good, and `again()`, which asks anew at once.
 */
export function open(address, on, { from, gate } = {}) {
  let lastId = '';
  let wait = WAIT_MIN;
  let timer = 0;
  let running = null;
  let ended = false;

  async function run(abort) {
    const id = from ? from() : lastId;
    const headers = id ? { 'Last-Event-ID': id } : {};
    const response = await fetch(address(), { headers, signal: abort.signal, cache: 'no-store' });
    if (response.status === 401) return location.reload();
    if (response.status === 404) on.refused?.();
    if (!response.ok) throw new Error(`the stream answered ${response.status}`);
    on.line?.(true);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      let end;
      let start = 0;
      while ((end = text.indexOf('\n\n', start)) >= 0) {
        const block = text.slice(start, end);
        start = end + 2;
        wait = WAIT_MIN;
        await dispatch(block);
        if (ended || abort.signal.aborted) return;
      }
      text = text.slice(start);
    }
  }

  async function dispatch(block) {
    let [event, data, id] = ['message', '', null];
    for (const line of block.split('\n')) {
      if (line.startsWith('data: ')) data = line.slice(6);
      else if (line.startsWith('event: ')) event = line.slice(7);
      else if (line.startsWith('id: ')) id = line.slice(4);
    }
    if (data && on[event]) await on[event](JSON.parse(data));
    if (id !== null) lastId = id;
  }

  async function start() {
    clearTimeout(timer);
    if (ended || running || document.hidden) return;
    const abort = (running = new AbortController());
    let failed = false;
    let release = null;
    try {
      release = await gate?.(abort.signal);
      if (!abort.signal.aborted) await run(abort);
    } catch (error) {
      failed = !abort.signal.aborted;
      if (failed && !(error instanceof TypeError)) console.warn(error);
    }
    release?.();
    if (running === abort) running = null;
    if (ended || abort.signal.aborted) return;
    if (failed) on.line?.(false);
    // Not all at once, when a server that many look at comes back.
    timer = setTimeout(start, wait * (0.7 + Math.random() * 0.6));
    wait = Math.min(wait * 2, WAIT_MAX);
  }

  function pause() {
    clearTimeout(timer);
    running?.abort();
    running = null;
  }

  function look() {
    if (document.hidden) pause();
    else start();
  }

  function again() {
    pause();
    wait = WAIT_MIN;
    start();
  }

  const listeners = new AbortController();
  const { signal } = listeners;
  function close() {
    ended = true;
    pause();
    listeners.abort();
  }

  document.addEventListener('visibilitychange', look, { signal });
  addEventListener('pagehide', pause, { signal });
  addEventListener('pageshow', start, { signal });
  addEventListener('online', () => { wait = WAIT_MIN; start(); }, { signal });
  start();
  return { close, again };
}

/** Shows or hides the sign that the connection is lost; not for the blink of a restart. */
export function lineSign() {
  const sign = document.getElementById('line-down');
  let timer = 0;
  return (isUp) => {
    clearTimeout(timer);
    if (isUp) sign.hidden = true;
    else timer = setTimeout(() => (sign.hidden = false), 1000);
  };
}
