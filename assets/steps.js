// The steps of a job's output: finds the lines that begin steps, and divides the log into sections,
// each with a sticky head, a state, a duration and a fold. The browser's search also finds folded
// lines.

import { now, span } from './time.js';

const STEP = /^==> \[(\d{1,3})\/(\d{1,3})\] (.+)$/;
const VERIFY_FAILED = /^==> \[(\d{1,3})\/\d{1,3}\] verify failed: /;
const DONE_BEFORE = / \(already done\)$/;
// Steps are timed by their output, which an agent sends every 1.5 s if nobody watches. Steps that
// arrive together took less than that.
const TOGETHER_MS = 100;

const WORDS = {
  running: 'Running', succeeded: 'Done', skipped: 'Already done', failed: 'Failed', cancelled: 'Cancelled', unknown: 'Ended',
};

const build = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

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
    this.mark = build('span');
    this.tookInList = build('span', { className: 'took' });
    const link = build('a', { href: `#L${row.number}` }, this.mark, name.replace(DONE_BEFORE, ''));
    this.item = build('li', {}, link, this.tookInList);
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
    this.mark.firstChild.replaceWith(build('span', { className: 'unseen', textContent: `${WORDS[state]}: ` }));
    for (const element of [this.took, this.tookInList]) {
      delete element.dataset.since;
      if (!this.at || state === 'skipped') element.textContent = '';
      else if (state === 'running') {
        element.dataset.since = this.at;
        element.textContent = span(now() - this.at);
      } else if (end) element.textContent = end - this.at < TOGETHER_MS ? 'under 2 s' : span(end - this.at);
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
      before.setState(before.isSkipped ? 'skipped' : 'succeeded', step.row.at);
      if (this.foldsDone) before.setFolded(true);
    }
    const part = new Part(this, step);
    part.head.insertBefore(step.row.element, part.word);
    this.parts.push(part);
    this.root.append(part.element);
    this.list.append(part.item);
    this.count = `${part.number} of ${step.of} steps`;
    this.changed();
  }

  /** Ends the last step with the job's status. Returns the step that failed, if any. */
  end(status, at) {
    const part = this.last;
    if (!part || this.hasEnded) return null;
    this.hasEnded = true;
    const names = { SUCCEEDED: 'succeeded', FAILED: 'failed', CANCELLED: 'cancelled' };
    const state = part.isSkipped && status === 'SUCCEEDED' ? 'skipped' : names[status] ?? 'unknown';
    part.isVerifyFailed = this.read.isVerifyFailed;
    part.setState(state, at);
    this.changed();
    return state === 'failed' ? part : null;
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
