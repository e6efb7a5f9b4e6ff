// The log: rows of output in blocks, so that the browser lays out only those in view but can search
// all of them. New rows are drawn once per frame, as many as a frame has time for.

import { Reader, Row } from './ansi.js';
import { clock } from './clock.js';

const BLOCK = 200;
// Maximum number of rows on the page, some 500 bytes each. Earlier ones are in the download.
const ROWS_MAX = 120000;
// Maximum number of rows that wait to be drawn; then the stream waits.
const WAITING_MAX = 20000;
const FRAME_MS = 8;
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
  /** Builds the log in `root`, with sections by `steps`. Calls `onRows(count)` after rows were drawn, `onSeen()` when others come into sight. */
  constructor(root, steps, { onRows, onSeen }) {
    Object.assign(this, { root, steps, onRows, onSeen });
    this.readers = {};
    this.ends = { stdout: 0, stderr: 0 };
    // Numbers: of the last line that began, of the next one where the server says, of the first
    // that is kept.
    this.lines = 0;
    this.next = 0;
    this.first = 1;
    this.blocks = [];
    this.rows = [];
    this.waiting = [];
    this.changed = new Set();
    this.grown = new Set();
    this.drained = null;
    this.whenDrawn = null;
    this.target = null;
    this.errors = [];
    this.firstStderr = null;
    this.times = 'off';
    // Blocks that are in sight, or nearly.
    this.seen = new Set();
    // How many rows were removed at the beginning.
    this.gone = 0;
    this.found = null;
    this.inSight = new IntersectionObserver((entries) => this.see(entries), { rootMargin: '100% 0px' });
  }

  /** Adds an `output` event. Returns a promise if the stream should wait. */
  take({ stream, offset, end, data, at, line, stepMs }) {
    const known = this.ends[stream];
    if (end <= known) return undefined;
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
    this.schedule();
    if (this.waiting.length < WAITING_MAX) return undefined;
    return new Promise((resolve) => (this.drained = resolve));
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
    // Rows that continue a line; only a line's first row may begin a block.
    row.isPart = row.isFurther = isContinued;
    row.at = this.at;
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

  // A line is recognised as a step's after it was drawn: it and the rows after it are drawn again.
  makeStep(row, step) {
    row.step = step;
    if (!row.element) return;
    const moved = this.rows.splice(this.rows.lastIndexOf(row));
    for (const each of moved) {
      each.element.remove();
      each.element = null;
      this.changed.delete(each);
    }
    while (this.blocks.length && !this.blocks.at(-1).childElementCount) this.blocks.pop().remove();
    this.waiting.unshift(...moved);
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    if (this.waiting.length > ROWS_MAX) {
      this.waiting.splice(0, this.waiting.length - ROWS_MAX);
      this.showTrimmed();
    }
    const until = performance.now() + FRAME_MS;
    let drawn = 0;
    while (drawn < this.waiting.length && (drawn % 64 !== 0 || performance.now() < until)) {
      this.append(this.waiting[drawn]);
      drawn += 1;
    }
    this.waiting.splice(0, drawn);
    for (const row of this.changed) this.fill(row);
    this.changed.clear();
    for (const block of this.grown) block.style.containIntrinsicSize = `auto calc(${block.childElementCount} * var(--row))`;
    this.grown.clear();
    this.trim();
    if (drawn) this.onRows?.(drawn);
    if (this.waiting.length) this.schedule();
    else {
      this.whenDrawn?.();
      this.whenDrawn = null;
    }
    if (this.drained && this.waiting.length < WAITING_MAX / 2) {
      this.drained();
      this.drained = null;
    }
  }

  /** Calls `then` once all rows are drawn. */
  afterAll(then) {
    this.whenDrawn = then;
    this.schedule();
  }

  append(row) {
    row.element = document.createElement('div');
    row.element.row = row;
    this.fill(row);
    this.rows.push(row);
    if (row.step) {
      this.steps.begin(row.step);
      this.stamp(row);
      this.addButton(row);
      return;
    }
    const body = this.steps.body;
    let block = this.blocks.at(-1);
    const isFull = block?.childElementCount >= BLOCK && !row.isFurther;
    if (!block || block.parentElement !== body || isFull) {
      block = document.createElement('div');
      block.className = 'block';
      this.blocks.push(block);
      body.append(block);
      this.inSight.observe(block);
    }
    if (block.dataset.times) this.stamp(row);
    if (this.seen.has(block)) this.addButton(row);
    block.append(row.element);
    this.grown.add(block);
  }

  dress(row) {
    let names = 'l';
    if (row.stream === 'stderr') names += ' err';
    else if (row.stream === 'page') names += ' gap';
    if (row.step) names += ' step';
    if (row.isPart) names += ' part-of-line';
    // Nothing visible yet.
    if (!row.length && !row.hasEnded) names += ' begun';
    if (this.isTarget(row)) names += ' target';
    if (row === this.found) names += ' found';
    if (row.element.className !== names) row.element.className = names;
  }

  fill(row) {
    const element = row.element;
    this.dress(row);
    if (row.number) element.setAttribute('data-n', row.number);
    const { pieces } = row;
    if (pieces.length <= 1 && !pieces[0]?.classes) {
      element.textContent = pieces[0]?.text ?? '';
      if (row.button) element.prepend(row.button);
      return;
    }
    element.replaceChildren(...(row.button ? [row.button] : []), ...pieces.map(({ text, classes }) => {
      if (!classes) return text;
      const span = document.createElement('span');
      span.className = classes;
      span.textContent = text;
      return span;
    }));
  }

  // The number of a row as a button, which takes no place of its own: the row draws the number.
  addButton(row) {
    if (row.button || !row.number) return;
    row.button = document.createElement('button');
    row.button.className = 'n';
    row.button.type = 'button';
    row.button.tabIndex = -1;
    row.button.setAttribute('aria-label', row.stream === 'stderr' ? `Line ${row.number}, stderr` : `Line ${row.number}`);
    row.element.prepend(row.button);
  }

  // Buttons and times are made for the rows of the blocks that come into sight: for all at once
  // they would stop the page.
  setTimes(mode, since) {
    Object.assign(this, { times: mode, since });
    for (const block of this.blocks) delete block.dataset.times;
    if (mode === 'off') return;
    for (const block of this.seen) this.dressSeen(block);
    for (const part of this.steps.parts) this.stamp(part.row);
  }

  see(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.seen.add(target);
        this.dressSeen(target);
      } else this.seen.delete(target);
    }
    this.onSeen();
  }

  dressSeen(block) {
    const isStamped = this.times === 'off' || block.dataset.times === this.times;
    if (!isStamped) block.dataset.times = this.times;
    for (const element of block.children) {
      this.addButton(element.row);
      if (!isStamped) this.stamp(element.row);
    }
  }

  stamp(row) {
    if (row?.at && this.times !== 'off') row.element.setAttribute('data-t', clock(row.at, this.times === 'since' ? this.since : 0));
  }

  trim() {
    let excess = this.rows.length - ROWS_MAX;
    while (excess >= BLOCK && this.blocks.length > 1) {
      const block = this.blocks.shift();
      const last = block.lastElementChild?.row;
      // Heads of steps before it stay; they are few.
      const gone = this.rows.indexOf(last) + 1;
      this.rows.splice(0, gone);
      this.gone += gone;
      this.seen.delete(block);
      this.inSight.unobserve(block);
      block.remove();
      excess -= gone;
      this.showTrimmed();
    }
  }

  showTrimmed() {
    if (this.trimmed) return;
    this.trimmed = document.createElement('div');
    this.trimmed.className = 'l gap';
    this.trimmed.textContent = 'Earlier lines are not shown here because the log is too long. Download it to see everything that is kept.';
    this.root.prepend(this.trimmed);
  }

  isTarget(row) {
    return this.target && row.number >= this.target[0] && row.number <= this.target[1];
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
        this.dress(row);
        if (this.isTarget(row)) found ??= row;
      }
    }
    return found;
  }

  /** Marks the row that a search has found. */
  setFound(row) {
    const before = this.found;
    this.found = row;
    for (const each of [before, row]) if (each?.element) this.dress(each);
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
    const inFailed = (row) => row.element?.closest('[data-step=failed]');
    return this.errors.find(inFailed) ?? this.errors[0] ?? this.firstStderr;
  }

  /** Whether there is no output. */
  get isEmpty() {
    return !this.rows.length && !this.waiting.length;
  }
}
