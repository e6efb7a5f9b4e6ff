// The log: reads output events into rows and puts them into blocks, some each frame, as many as a
// frame has time for.

import { Reader, Row } from './ansi.js';
import { Blocks } from './blocks.js';

// Maximum number of rows that are kept, some 200 bytes each. Earlier ones are in the download.
const ROWS_MAX = 1000000;
// Characters that may wait to be read; then the stream waits.
const WAITING_MAX = 1000000;
const FRAME_MS = 8;
const PAUSE_MS = 100;
// Rows between two looks at the clock.
const AT_ONCE = 64;
const ERRORS_MAX = 1000;
const ERROR = /\b(error|fatal|failed|failure|panic|traceback|exception|denied|cannot|can't)\b|no such file|not found/i;

/** A number of bytes, formatted as on the server (src/dashboard/words.rs). */
function size(bytes) {
  const units = ['KiB', 'MiB', 'GiB'];
  if (bytes < 1024) return `${bytes} B`;
  let unit = 0;
  for (bytes /= 1024; bytes >= 1024 && unit < 2; unit += 1) bytes /= 1024;
  return `${bytes.toFixed(1)} ${units[unit]}`;
}

export class Log {
  /** Builds the log in `root`, with sections by `steps`. Calls `onRows(count)` after rows were added, `onSeen()` when others come into sight. */
  constructor(root, steps, { onRows, onSeen }) {
    Object.assign(this, { root, steps, onRows });
    this.blocks = new Blocks(steps, onSeen);
    this.readers = {};
    this.ends = { stdout: 0, stderr: 0 };
    // Numbers: of the last line that began, of the next one where the server says, of the first
    // that is kept.
    this.lines = 0;
    this.next = 0;
    this.first = 1;
    this.rows = [];
    // How many rows were removed at the beginning.
    this.gone = 0;
    this.workedAt = -PAUSE_MS;
    // Events that wait to be read, with their characters, and rows that wait for their place.
    this.events = [];
    this.unread = 0;
    this.waiting = [];
    this.changed = new Set();
    this.drained = null;
    this.whenDrawn = null;
    this.target = null;
    this.errors = [];
    this.firstStderr = null;
    this.found = null;
  }

  /** Adds an `output` event. Returns a promise if the stream should wait. */
  take(event) {
    this.events.push(event);
    this.unread += event.data.length;
    // After a pause there is no need to wait for a frame.
    if (!this.frame && performance.now() - this.workedAt > PAUSE_MS) this.work();
    else this.schedule();
    if (this.unread < WAITING_MAX) return undefined;
    return new Promise((resolve) => (this.drained = resolve));
  }

  read({ stream, offset, end, data, at, line, stepMs }) {
    this.unread -= data.length;
    const known = this.ends[stream];
    if (end <= known) return;
    const reader = this.reader(stream);
    if (offset > known) this.gap(stream, offset - known, known === 0, line);
    this.ends[stream] = end;
    this.at = at ? Date.parse(at) : 0;
    this.stepMs = stepMs;
    if (line) {
      if (!reader.row && !reader.isContinued) this.next = line;
      else this.lines = Math.max(this.lines, line);
    }
    reader.write(data);
    this.next = 0;
  }

  reader(stream) {
    return (this.readers[stream] ??= new Reader({
      newRow: (isContinued) => this.newRow(stream, isContinued),
      changed: (row) => this.markChanged(row),
      ended: (row) => this.endRow(row),
    }));
  }

  newRow(stream, isContinued) {
    const reader = this.readers[stream];
    const row = new Row(stream, isContinued || reader.isContinued ? 0 : this.number());
    reader.isContinued = false;
    // Rows that continue a line.
    row.isPart = row.isFurther = isContinued;
    row.at = this.at;
    row.isTarget = this.isTarget(row);
    this.waiting.push(row);
    return row;
  }

  number() {
    const number = this.next || this.lines + 1;
    this.next = 0;
    // No line has begun with it: the head fell off amid this one, whose number nobody knows.
    if (number === this.lines) return 0;
    if (!this.lines) this.first = number;
    this.lines = Math.max(this.lines, number);
    return number;
  }

  // Adds a row with a message by the page itself.
  addNotice(text) {
    const row = new Row('page', 0);
    row.append(text, '');
    row.hasEnded = true;
    this.waiting.push(row);
  }

  gap(stream, bytes, isHead, line) {
    const reader = this.reader(stream);
    // A line that goes on after the gap has its number before it.
    reader.isContinued = reader.break();
    this.steps.markGap();
    this.hasFallen ||= isHead;
    const what = isHead
      ? `The first ${size(bytes)} of ${stream} are not kept: only the end of long output is.`
      : `${size(bytes)} of ${stream} are missing here: they never arrived, or were dropped before this page could read them.`;
    this.addNotice(line || this.lines ? what : `${what} Lines are counted from here.`);
  }

  markChanged(row) {
    if (row.element) this.changed.add(row);
  }

  endRow(row) {
    // The event ends with a step's line, and has the node's time of it.
    if (this.stepMs !== undefined) [row.at, row.ms] = [this.at, this.stepMs];
    const step = this.steps.of(row);
    if (step) this.makeStep(row, step);
    else if (!row.length) this.markChanged(row);
    if (row.stream !== 'stderr') return;
    this.firstStderr ??= row;
    if (this.errors.length < ERRORS_MAX && row.length < 2000 && ERROR.test(row.text)) this.errors.push(row);
  }

  // A line is recognised as a step's after it got its place: it and the rows after it get another.
  makeStep(row, step) {
    row.step = step;
    const at = row.element || row.block ? this.rows.lastIndexOf(row) : -1;
    if (at < 0) return;
    const moved = this.rows.splice(at);
    for (const each of moved) this.changed.delete(each);
    this.blocks.removeLast(moved);
    this.waiting.unshift(...moved);
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => this.work());
  }

  work() {
    this.frame = 0;
    this.workedAt = performance.now();
    const until = this.workedAt + FRAME_MS;
    const before = this.gone + this.rows.length;
    while (this.waiting.length || this.events.length) {
      if (!this.waiting.length) this.read(this.events.shift());
      for (const row of this.waiting.splice(0, AT_ONCE)) this.append(row);
      if (performance.now() > until) break;
    }
    for (const row of this.changed) if (row.element) this.blocks.fill(row);
    this.changed.clear();
    this.trim();
    const isIdle = !this.waiting.length && !this.events.length;
    const hasMore = isIdle ? this.blocks.drawUntil(until) : true;
    this.blocks.setHeights();
    const count = this.gone + this.rows.length - before;
    if (count) this.onRows?.(count);
    if (hasMore) this.schedule();
    if (isIdle) {
      this.whenDrawn?.();
      this.whenDrawn = null;
    }
    if (this.drained && this.unread < WAITING_MAX / 2) {
      this.drained();
      this.drained = null;
    }
  }

  /** Calls `then` once all output is read. */
  afterAll(then) {
    this.whenDrawn = then;
    this.schedule();
  }

  append(row) {
    row.order = this.gone + this.rows.length;
    this.rows.push(row);
    this.blocks.add(row, this.events.length > 0);
  }

  trim() {
    while (this.rows.length > ROWS_MAX) {
      const last = this.blocks.removeFirst().at(-1);
      // Heads of steps before it stay; they are few.
      for (const row of this.rows.splice(0, last.order - this.gone + 1)) row.isGone = true;
      this.gone = last.order + 1;
      this.showTrimmed();
    }
  }

  showTrimmed() {
    if (this.trimmed) return;
    this.trimmed = document.createElement('div');
    this.trimmed.className = 'l gap';
    this.trimmed.textContent = 'Earlier lines are neither shown nor searched here because the log is too long. Download it to see everything that is kept.';
    this.root.prepend(this.trimmed);
  }

  isTarget({ number }) {
    return this.target !== null && number >= this.target[0] && number <= this.target[1];
  }

  /** Marks lines `from` to `to` and returns the first row among them. */
  mark(from, to) {
    const before = this.target;
    this.target = from ? [from, to] : null;
    let found = null;
    for (const [first, last] of [before, this.target].filter(Boolean)) {
      const start = this.rows.findIndex((row) => row.number >= first);
      for (let at = start; at >= 0 && at < this.rows.length && this.rows[at].number <= last; at += 1) {
        const row = this.rows[at];
        row.isTarget = this.isTarget(row);
        if (row.element) this.blocks.dress(row);
        if (row.isTarget) found ??= row;
      }
    }
    return found;
  }

  /** Marks the row that a search has found. */
  setFound(row) {
    const before = this.found;
    this.found = row;
    for (const each of [before, row].filter(Boolean)) {
      each.isFound = each === row;
      if (each.element) this.blocks.dress(each);
    }
  }

  /** Scrolls to a row, which may have had no element. */
  scrollTo(row) {
    this.blocks.show(row);
    this.steps.show(row.element);
    row.element.scrollIntoView({ block: 'center' });
  }

  /** Whether a row is an error: on stderr, or by its words. */
  isError(row) {
    return row.stream === 'stderr' || (row.stream === 'stdout' && row.length < 2000 && ERROR.test(row.text));
  }

  get hasErrors() {
    return this.firstStderr !== null;
  }

  /** The first error, preferably in the step that failed. */
  get firstError() {
    const inFailed = (row) => (row.element ?? row.block?.element)?.closest('[data-step=failed]');
    return this.errors.find(inFailed) ?? this.errors[0] ?? this.firstStderr;
  }

  /** The number of the first line that the page has. */
  get firstNumber() {
    return this.rows.find(({ number }) => number)?.number;
  }

  /** Whether there is no output. */
  get isEmpty() {
    return !this.rows.length && !this.waiting.length && !this.events.length;
  }
}
