// The log: rows of output in blocks, so that the browser lays out only those in sight, while its own search finds all.
// New rows are drawn once per frame, and no more than a frame has time for.

import { Reader, Row } from './ansi.js';

const BLOCK = 200;
// Rows on the page at the most, some 500 bytes each. What came before is in the download.
const ROWS_MAX = 120000;
// Rows that may wait to be drawn; then the stream waits.
const WAITING_MAX = 20000;
const FRAME_MS = 12;
const STEP = /^==> \[(\d+)\/(\d+)\] (.+)$/;
const ERROR = /\b(error|fatal|failed|failure|panic|traceback|exception|denied|cannot|can't)\b|no such file|not found/i;

export class Log {
  /** Builds the log in `root`. `onStep({number, of, name, row})` hears of each step that begins. */
  constructor(root, { onStep, onRows }) {
    Object.assign(this, { root, onStep, onRows });
    this.readers = {};
    this.ends = { stdout: 0, stderr: 0 };
    this.lines = 0;
    this.first = 1;
    this.blocks = [];
    this.rows = [];
    this.waiting = [];
    this.changed = new Set();
    this.drained = null;
    this.target = null;
    this.firstError = null;
  }

  /** Takes an `output` event; gives a promise where the stream is to wait. */
  take({ stream, offset, end, data }) {
    const known = this.ends[stream];
    if (end <= known) return undefined;
    if (offset > known) this.gap(stream, offset - known);
    this.ends[stream] = end;
    this.reader(stream).write(data);
    this.schedule();
    if (this.waiting.length < WAITING_MAX) return undefined;
    return new Promise((resolve) => (this.drained = resolve));
  }

  reader(stream) {
    return (this.readers[stream] ??= new Reader({
      newRow: (isContinued) => this.newRow(stream, isContinued),
      changed: (row) => this.noteChange(row),
      ended: (row) => this.endRow(row),
    }));
  }

  newRow(stream, isContinued) {
    const row = new Row(stream, isContinued ? 0 : (this.lines += 1));
    this.waiting.push(row);
    return row;
  }

  // A row without a reader: something that the page itself says.
  say(text) {
    const row = new Row('page', 0);
    row.append(text, '');
    this.waiting.push(row);
  }

  gap(stream, bytes) {
    const before = this.lines ? '' : ' Lines are counted from here.';
    this.reader(stream).row = null;
    this.reader(stream).column = 0;
    this.say(`${bytes.toLocaleString('en')} bytes of ${stream} are missing here: only the end of long output is kept.${before}`);
  }

  noteChange(row) {
    if (row.element) this.changed.add(row);
  }

  endRow(row) {
    const step = row.stream === 'stdout' && row.length < 500 && STEP.exec(row.text);
    if (step) {
      row.step = true;
      this.noteChange(row);
      this.onStep?.({ number: Number(step[1]), of: Number(step[2]), name: step[3], row });
    }
    if (!this.firstError && row.stream === 'stderr' && row.length < 2000 && ERROR.test(row.text)) this.firstError = row;
    this.firstStderr ??= row.stream === 'stderr' ? row : undefined;
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    if (this.waiting.length > ROWS_MAX) {
      this.waiting.splice(0, this.waiting.length - ROWS_MAX);
      this.sayTrimmed();
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
    this.trim();
    if (drawn) this.onRows?.(drawn);
    if (this.waiting.length) this.schedule();
    if (this.drained && this.waiting.length < WAITING_MAX / 2) {
      this.drained();
      this.drained = null;
    }
  }

  append(row) {
    let block = this.blocks.at(-1);
    if (!block || block.childElementCount >= BLOCK) {
      block = document.createElement('div');
      block.className = 'block';
      this.blocks.push(block);
      this.root.append(block);
    }
    row.element = document.createElement('div');
    this.fill(row);
    this.rows.push(row);
    block.append(row.element);
  }

  fill(row) {
    const element = row.element;
    const names = ['l'];
    if (row.stream === 'stderr') names.push('err');
    if (row.stream === 'page') names.push('gap');
    if (row.step) names.push('step');
    if (this.isTarget(row)) names.push('target');
    element.className = names.join(' ');
    if (row.number) element.dataset.n = row.number;
    element.replaceChildren(...row.pieces.map(({ text, classes }) => {
      if (!classes) return document.createTextNode(text);
      const span = document.createElement('span');
      span.className = classes;
      span.textContent = text;
      return span;
    }));
  }

  trim() {
    let excess = this.rows.length - ROWS_MAX;
    while (excess >= BLOCK) {
      this.blocks.shift().remove();
      this.rows.splice(0, BLOCK);
      excess -= BLOCK;
      this.sayTrimmed();
    }
  }

  sayTrimmed() {
    if (this.trimmed) return;
    this.trimmed = document.createElement('div');
    this.trimmed.className = 'l gap';
    this.trimmed.textContent = 'Earlier lines are not shown here: there are too many. The download has what is kept.';
    this.root.prepend(this.trimmed);
  }

  isTarget(row) {
    return this.target && row.number >= this.target[0] && row.number <= this.target[1];
  }

  /** Marks lines `from` to `to` and gives the first one's row, once it is there. */
  mark(from, to) {
    const before = this.target;
    this.target = from ? [from, to] : null;
    for (const [first, last] of [before, this.target].filter(Boolean)) {
      for (let n = first; n <= Math.min(last, this.lines); n += 1) {
        const row = this.find(n);
        if (row) this.fill(row);
      }
    }
    return from ? this.find(from) : null;
  }

  /** The row of a line. Rows are in the order of their numbers, some have none. */
  find(number) {
    let [low, high] = [0, this.rows.length - 1];
    while (low <= high) {
      let middle = (low + high) >> 1;
      const at = middle;
      while (middle > low && !this.rows[middle].number) middle -= 1;
      const found = this.rows[middle].number;
      if (found === number) return this.rows[middle];
      if (found && found > number) high = middle - 1;
      else low = at + 1;
    }
    return null;
  }

  /** Everything, once nothing waits: the job has ended. */
  get isEmpty() {
    return !this.rows.length && !this.waiting.length;
  }
}
