// One line to the server for all tabs of a browser, which has six connections to it and not one more.
//
// What changes comes over `/api/events`, which one tab, the leader (it holds a lock), reads for all and passes on through a
// channel. A job's page reads the job's own stream while there is room for that (SLOTS). When another tab waits for room,
// it goes over to the leader's line: there it names its job, and where it is in the output. A tab that hears something
// else than what comes next goes back to a stream of its own, from where it is. So does one whose job has ended.
// Hidden tabs want nothing and lead nobody. A leader's death frees its lock; the next one asks all what they want.

import { open } from './stream.js';
import { now } from './time.js';

// Jobs' own streams at a time, on the line for one's own jobs and on the one for everybody's. With both lines that makes
// five at the most, which leaves one connection for everything else.
const SLOTS = 2, SLOTS_ALL = 1;
const GATHER_MS = 60;
const TELL_MS = 10000, FORGET_MS = 30000;
// Output that may wait for its turn in this tab, in characters.
const QUEUE_MAX = 4000000;

const same = (a, b) => a && b && a.stdout === b.stdout && a.stderr === b.stderr;

/** Takes a lock, unless it is not free and `ifAvailable`; gives what frees it. */
const take = (name, options) => new Promise((resolve, reject) => {
  const hold = (lock) => (lock ? new Promise((release) => resolve(release)) : resolve(null));
  navigator.locks.request(name, options, hold).catch(reject);
});

class Line {
  constructor(address) {
    this.address = address;
    this.name = `${address} ${document.body.dataset.user}`;
    this.me = Math.random().toString(36).slice(2);
    this.isLive = false;
    this.joined = null;
    this.listeners = new Set();
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = ({ data }) => this.hear(data);
    setInterval(() => this.tell(), TELL_MS);
    document.addEventListener('visibilitychange', () => this.look());
    addEventListener('pagehide', () => this.stop());
    addEventListener('pageshow', () => this.look());
    this.look();
  }

  say(message) {
    this.channel.postMessage(message);
    this.hear(message);
  }

  hear(message) {
    if (message.leader) this.tell();
    if (this.leads && 'want' in message) this.note(message);
    for (const listener of this.listeners) listener(message);
  }

  /** What this tab wants: `joined` gives `{job, at}` or nothing. */
  tell() {
    if (document.hidden || this.stopped) return;
    const { job = null, at = null } = this.joined?.() ?? {};
    this.say({ want: this.me, live: this.isLive, job, at });
  }

  look() {
    if (document.hidden) return this.stop();
    this.stopped = null;
    this.run ??= this.lead(new AbortController());
    this.tell();
  }

  stop() {
    if (this.stopped) return;
    this.say({ want: this.me, live: false, job: null });
    this.stopped = true;
    this.run?.abort();
    this.run = null;
  }

  // The leader's part.
  lead(abort) {
    take(this.name, { signal: abort.signal }).then((release) => {
      const end = () => {
        this.leads = false;
        clearTimeout(this.arranges);
        this.stream?.close();
        this.stream = null;
        release();
      };
      if (abort.signal.aborted) return end();
      abort.signal.addEventListener('abort', end);
      this.leads = true;
      this.wants = new Map();
      this.jobs = new Map();
      this.asked = '';
      this.say({ leader: this.me });
      this.arrange();
    }).catch(() => {});
    return abort;
  }

  note({ want, live, job, at }) {
    this.wants.set(want, { live, job, heard: Date.now() });
    // Its place may be behind that of others: they don't hear twice what they have.
    if (job && !this.jobs.has(job)) this.jobs.set(job, { ...at });
    else if (job && this.asked.includes(job)) this.say({ at: this.jobs.get(job), of: job });
    this.arrange();
  }

  arrange() {
    clearTimeout(this.arranges);
    this.arranges = setTimeout(() => this.ask(), GATHER_MS);
  }

  ask() {
    const named = new Set();
    let isLive = false;
    for (const [tab, { live, job, heard }] of this.wants) {
      if (Date.now() - heard > FORGET_MS) this.wants.delete(tab);
      else if (job) named.add(job);
      isLive ||= live;
    }
    for (const job of this.jobs.keys()) if (!named.has(job)) this.jobs.delete(job);
    const asked = [...named].sort().slice(0, 64).join();
    if (!named.size && !isLive) {
      this.stream?.close();
      this.stream = null;
    } else if (!this.stream) {
      this.asked = asked;
      this.stream = this.listen();
    } else if (this.asked !== asked) {
      this.asked = asked;
      this.stream.again();
    }
    for (const job of named) this.say({ at: this.jobs.get(job), of: job });
  }

  listen() {
    const address = () => {
      const url = new URL(this.address, location);
      for (const job of this.asked.split(',')) if (job) url.searchParams.append('job', job);
      return url;
    };
    const from = () => {
      const places = [...this.jobs].map(([job, { stdout, stderr }]) => `,${job}:${stdout}-${stderr}`);
      return Math.round(now()) + places.join('');
    };
    let changes = 0;
    const changed = () => {
      changes ||= setTimeout(() => {
        changes = 0;
        this.say({ changed: true });
      }, 50);
    };
    return open(address, {
      node: changed,
      job: (job) => {
        changed();
        if (this.jobs.has(job.id)) this.say({ state: job, of: job.id });
      },
      output: ({ jobId, ...event }) => {
        const place = this.jobs.get(jobId);
        if (!place) return;
        const before = event.offset < place[event.stream] ? null : { ...place };
        place[event.stream] = event.end;
        this.say({ of: jobId, before, event });
      },
      line: (isUp) => this.say({ isUp }),
      // Some job that is named is gone, or no longer this person's: those who named one find out by themselves.
      refused: () => {
        for (const want of this.wants.values()) want.job = null;
        this.say({ refused: true });
        this.arrange();
      },
    }, { from });
  }
}

const canShare = () => Boolean(navigator.locks && window.BroadcastChannel);

/** `on.changed()` whenever a job or a node has changed; `on.line(isUp)`. */
export function watch(events, on) {
  if (!canShare()) return open(() => events, { job: on.changed, node: on.changed, line: on.line });
  const line = new Line(events);
  line.listeners.add((message) => {
    if (document.hidden) return;
    if (message.changed) on.changed();
    if ('isUp' in message) on.line(message.isUp);
  });
  line.isLive = true;
  line.tell();
  // What changed since the page was drawn; from here on somebody tells.
  on.changed();
  return line;
}

/** A job's output and state, as its own stream `url` tells them: `on.status`, `on.output`, `on.done`, `on.line`. */
export function follow(url, events, job, on) {
  const at = { stdout: 0, stderr: 0 };
  const line = canShare() ? new Line(events) : null;
  let own = null;
  // Frees the slot that its stream holds; when that began, and when it last had something.
  let held = null;
  let [openedAt, heardAt] = [0, 0];
  let isOver = false;
  // What the leader says while this tab reads for itself, and how far it is.
  let heard = [];
  let leaderAt = null;
  let leaderState = null;
  // What waits for its turn after going over.
  let turn = Promise.resolve();
  let [turns, waiting] = [0, 0];

  function took(event) {
    at[event.stream] = event.end;
    return on.output(event);
  }

  function readAlone() {
    [heard, leaderAt, leaderState] = [[], null, null];
    [turns, waiting] = [turns + 1, 0];
    if (line) line.joined = null;
    line?.tell();
    own = open(() => url, {
      line: on.line,
      status: on.status,
      output(event) {
        heardAt = performance.now();
        const drawn = took(event);
        joinIfThere();
        return drawn;
      },
      done(data) {
        isOver = true;
        own.close();
        if (line) line.joined = null;
        line?.tell();
        on.done(data);
      },
    }, { from: () => `-${at.stdout}-${at.stderr}`, gate: line && slot });
  }

  async function slot(signal) {
    const slots = events.includes('scope=all') ? SLOTS_ALL : SLOTS;
    for (let n = 0; n < slots; n += 1) {
      const free = await take(`${line.name} slot ${n}`, { ifAvailable: true });
      if (free) return opened(free);
    }
    const asks = setInterval(() => line.say({ waits: line.me }), 250);
    line.say({ waits: line.me });
    try {
      return opened(await take(`${line.name} slot ${Math.floor(Math.random() * slots)}`, { signal }));
    } finally {
      clearInterval(asks);
    }
  }

  function opened(release) {
    openedAt = heardAt = performance.now();
    held = release;
    return () => {
      if (held === release) held = null;
      release();
    };
  }

  // Another tab waits for room: this one names its job to the leader, once it has caught up.
  function makeRoom() {
    const time = performance.now();
    if (!own || !held || (time - heardAt < 100 && time - openedAt < 3000)) return;
    line.joined = () => ({ job, at });
    line.tell();
  }

  function joinIfThere() {
    if (!own || !line?.joined) return;
    heard = heard.filter(({ before, event }) => before && event.end > at[event.stream]);
    const index = heard.findIndex(({ before }) => same(before, at));
    if (index < 0 && !same(leaderAt, at)) return;
    const rest = index < 0 ? [] : heard.slice(index);
    own.close();
    own = null;
    const state = leaderState;
    [heard, leaderState] = [[], null];
    rest.forEach(hearOutput);
    if (state) hear({ of: job, state });
  }

  function hearOutput({ before, event }) {
    waiting += event.data.length;
    const mine = turns;
    turn = turn.then(() => {
      if (mine !== turns) return undefined;
      waiting -= event.data.length;
      if (same(before, at)) return took(event);
      if (event.end > at[event.stream]) readAlone();
      return undefined;
    });
    if (waiting > QUEUE_MAX) readAlone();
  }

  function hear(message) {
    if (isOver || document.hidden) return;
    if (message.waits && message.waits !== line.me) makeRoom();
    if (message.refused && line.joined) {
      if (own) line.joined = null;
      else readAlone();
    }
    if ('isUp' in message && !own) on.line(message.isUp);
    if (message.of !== job || !line.joined) return;
    if (message.at) {
      leaderAt = { ...message.at };
      joinIfThere();
    } else if (message.event && own) {
      heard.push(message);
      leaderAt = message.before && { ...message.before, [message.event.stream]: message.event.end };
      if (heard.length > 512) heard.shift();
      joinIfThere();
    } else if (message.event) {
      hearOutput(message);
    } else if (message.state && own) {
      leaderState = message.state;
    } else if (message.state) {
      // How it ended, and what is still missing, the job's own stream tells in the right order.
      if (message.state.finishedAt) readAlone();
      else on.status(message.state);
    }
  }

  line?.listeners.add(hear);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden && !own && !isOver) readAlone();
  });
  readAlone();
}
