// The steps of a job's output: finds the lines that begin steps, and divides the log into sections,
// each with a sticky head, a state, a duration and a fold. The browser's search also finds folded
// lines. Keeps the list of all steps up to date, which the server has drawn.

import { build } from './build.js';
import { now, span } from './time.js';

const STEP = /^==> \[(\d{1,3})\/(\d{1,3})\] (.+)$/;
const VERIFY_FAILED = /^==> \[(\d{1,3})\/\d{1,3}\] verify failed: /;
const DONE_BEFORE = / \(already done\)$/;
// Steps of an older agent are timed by the arrival of their output, which such an agent sends
// every 1.5 s if nobody watches. Steps that arrive together took less than that.
const TOGETHER_MS = 100;

const WORDS = {
  running: 'Running', succeeded: 'Done', skipped: 'Already done', failed: 'Failed', cancelled: 'Cancelled', unknown: 'Ended',
};

/** How long a step took between two rows or ends: `{at, ms}`, where `ms` is the node's time, if it is known. */
function duration(from, to) {
  const isExact = from.ms !== undefined && to.ms !== undefined && to.ms >= from.ms;
  return { millis: Math.max(0, isExact ? to.ms - from.ms : to.at - from.at), isExact };
}

function took({ millis, isExact }) {
  if (isExact) return span(millis);
  return millis < TOGETHER_MS ? 'under 2 s' : `about ${span(millis)}`;
}

/** The place of a step in the list, which the server draws if it knows the step. */
function itemOf(list, number) {
  const known = list.querySelector(`[data-number="${number}"]`);
  if (known) return known;
  const item = build('li', {}, build('a', {}, build('span'), build('bdi')), build('span', { className: 'took' }));
  item.dataset.number = number;
  list.append(item);
  return item;
}

/** A step and its section. */
class Part {
  constructor(steps, { number, of, name, row }) {
    Object.assign(this, { number, name, row, at: row.at });
    this.isSkipped = DONE_BEFORE.test(name);
    const id = `step-${number}`;
    this.button = build('button', { type: 'button', className: 'fold', onclick: () => steps.fold(this) });
    this.button.setAttribute('aria-controls', id);
    this.button.setAttribute('aria-label', `Step ${number} of ${of}: ${name}`);
    this.word = build('span');
    this.took = build('span', { className: 'took' });
    this.head = build('div', { className: 'part-head' }, this.button, this.word, this.took);
    this.head.setAttribute('role', 'heading');
    this.head.setAttribute('aria-level', '3');
    this.body = build('div', { className: 'part-body', id });
    this.element = build('section', { className: 'part' }, this.head, this.body);
    this.element.ofStep = this.body.ofStep = this;
    this.item = itemOf(steps.list, number);
    const link = this.item.querySelector('a');
    link.href = `#L${row.number}`;
    link.lastElementChild.textContent = name.replace(DONE_BEFORE, '');
    this.mark = link.firstElementChild;
    this.tookInList = this.item.querySelector('.took');
    this.setFolded(false);
    this.setState(this.isSkipped ? 'skipped' : 'running');
  }

  setState(state, end = null) {
    this.state = state;
    this.element.dataset.step = state;
    this.item.dataset.step = state;
    for (const element of [this.word, this.mark]) {
      element.className = 'state';
      element.dataset.state = state;
      element.textContent = WORDS[state];
    }
    if (this.isVerifyFailed && state === 'failed') this.word.textContent = 'Verify failed';
    this.mark.firstChild.replaceWith(build('span', { className: 'unseen', textContent: `${this.word.textContent}: ` }));
    const lasted = end && this.at && state !== 'skipped' ? duration(this.row, end) : null;
    if (lasted) this.item.dataset.ms = lasted.millis;
    else delete this.item.dataset.ms;
    for (const element of [this.took, this.tookInList]) {
      delete element.dataset.since;
      if (lasted) element.textContent = took(lasted);
      else if (!this.at || state === 'skipped') element.textContent = '';
      else if (state === 'running') {
        element.dataset.since = this.at;
        element.textContent = span(now() - this.at);
      }
    }
  }

  setFolded(isFolded) {
    this.isFolded = isFolded;
    this.button.setAttribute('aria-expanded', String(!isFolded));
    if (isFolded) this.body.setAttribute('hidden', 'until-found');
    else this.body.removeAttribute('hidden');
  }
}

export class Steps {
  /** Creates sections in `root`, and a list of them in `list`. Calls `changed()` when one begins, ends or is folded. */
  constructor(root, list, changed) {
    Object.assign(this, { root, list, changed });
    this.parts = [];
    this.read = { number: 0, of: 0 };
    this.isCut = false;
    this.foldsDone = false;
    this.hasEnded = false;
    // Lines before the first step.
    this.opening = build('div', { className: 'part-body' });
    root.append(this.opening);
    root.addEventListener('beforematch', (event) => {
      const part = event.target.ofStep;
      if (part) this.fold(part, false);
    });
  }

  get last() {
    return this.parts.at(-1);
  }

  /** The element for new lines. */
  get body() {
    return this.last?.body ?? this.opening;
  }

  /** Lines before the next one are missing. */
  markGap() {
    this.isCut = true;
  }

  /**
   * The step that a line begins, if any. Scripts may print similar lines: a step must continue the previous step's number
   * and have the same total.
   */
  of(row) {
    if (row.length > 600) return null;
    const match = (row.stream === 'stdout' ? STEP : VERIFY_FAILED).exec(row.text);
    if (!match) return null;
    const number = Number(match[1]);
    if (row.stream === 'stderr') {
      if (number === this.read.number) this.read.isVerifyFailed = true;
      return null;
    }
    const { number: before, of: all } = this.read;
    const of = Number(match[2]);
    const isNext = number === before + 1 || (this.isCut && number > before);
    if (number > of || !isNext || (all && of !== all)) return null;
    this.read = { number, of };
    this.isCut = false;
    return { number, of, name: match[3], row };
  }

  /** Begins the section of a step. */
  begin(step) {
    const before = this.last;
    if (before) {
      before.setState(before.isSkipped ? 'skipped' : 'succeeded', step.row);
      if (this.foldsDone) before.setFolded(true);
    }
    const part = new Part(this, step);
    part.head.insertBefore(step.row.element, part.word);
    this.parts.push(part);
    this.root.append(part.element);
    this.count = `step ${part.number} of ${step.of}`;
    this.drawShares();
    this.changed();
  }

  /** Draws each step's time as a part of the longest one. */
  drawShares() {
    const items = [...this.list.children];
    const longest = Math.max(1, ...items.map(({ dataset }) => Number(dataset.ms ?? 0)));
    for (const item of items) {
      item.querySelector('rect')?.setAttribute('width', Math.floor((Number(item.dataset.ms ?? 0) * 100) / longest));
    }
  }

  /** Ends the last step with the job's status, at the time `end`. */
  end(status, end) {
    const part = this.last;
    if (!part || this.hasEnded) return;
    this.hasEnded = true;
    const names = { SUCCEEDED: 'succeeded', FAILED: 'failed', CANCELLED: 'cancelled' };
    const state = part.isSkipped && status === 'SUCCEEDED' ? 'skipped' : names[status] ?? 'unknown';
    part.isVerifyFailed = this.read.isVerifyFailed;
    part.setState(state, end);
    this.drawShares();
    for (const word of this.list.querySelectorAll('[data-step=waiting] .unseen')) word.textContent = 'Not reached: ';
    this.changed();
  }

  /** Folds a step, or unfolds it. */
  fold(part, isFolded = !part.isFolded) {
    part.setFolded(isFolded);
    this.changed();
  }

  get isAllFolded() {
    return this.parts.every((part) => part.isFolded);
  }

  foldAll(isFolded = !this.isAllFolded) {
    for (const part of this.parts) part.setFolded(isFolded);
    this.changed();
  }

  /** Unfolds the step that contains an element. */
  show(element) {
    const part = element.closest('.part-body')?.ofStep;
    if (part?.isFolded) this.fold(part, false);
  }

  /** The step before or after the one that has the focus or is at the top of the window. */
  beside(way) {
    const held = this.parts.findIndex((part) => part.head.contains(document.activeElement));
    if (held >= 0) return this.parts[held + way];
    const top = (part) => part.head.getBoundingClientRect().top;
    if (way > 0) return this.parts.find((part) => top(part) > 90);
    return this.parts.findLast((part) => top(part) < 50);
  }
}
