// The search in a job's log: over all lines, in slices, so that it never holds the page
// up. `/` goes to it; Enter and Shift+Enter, or n and Shift+N, go through what is found.

import { build, button } from './build.js';

const SLICE_MS = 20;
// Ranges of text that are highlighted at most: those in sight.
const RANGES_MAX = 2000;

export class Search {
  /** `went()` is called when the page scrolls to a match, `announce(words)` for screen readers. */
  constructor(log, steps, { went, announce }) {
    Object.assign(this, { log, steps, went, announce });
    this.field = build('input', { type: 'search', placeholder: 'Search the log', autocomplete: 'off', spellcheck: false });
    this.field.setAttribute('aria-label', 'Search the log');
    this.count = build('span', { className: 'count' });
    this.before = button('↑', { title: 'Previous match (Shift+Enter)', onclick: () => this.go(-1) });
    this.after = button('↓', { title: 'Next match (Enter)', onclick: () => this.go(1) });
    this.before.setAttribute('aria-label', 'Previous match');
    this.after.setAttribute('aria-label', 'Next match');
    this.errors = button('Errors only', { onclick: () => this.toggleErrors() });
    this.errors.setAttribute('aria-pressed', 'false');
    this.element = build('div', { className: 'search-log' }, this.field, this.errors, this.before, this.after, this.count);
    this.element.setAttribute('role', 'search');
    this.field.addEventListener('input', () => this.start());
    this.field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.go(event.shiftKey ? -1 : 1);
      else if (event.key === 'Escape') this.clear();
      else return;
      event.preventDefault();
    });
    this.clear();
  }

  get isOn() {
    return this.words !== '' || this.onlyErrors;
  }

  clear() {
    this.field.value = '';
    this.field.blur();
    this.start();
  }

  toggleErrors() {
    this.onlyErrors = !this.onlyErrors;
    this.errors.setAttribute('aria-pressed', String(this.onlyErrors));
    this.start();
  }

  /** Searches everything again. */
  start() {
    this.words = this.field.value.toLowerCase();
    this.matches = [];
    // The number of rows that were searched, with those that are gone.
    this.read = 0;
    this.at = -1;
    this.isJumping = this.isOn;
    this.log.setFound(null);
    clearTimeout(this.timer);
    this.timer = 0;
    this.scan();
  }

  /** Called after rows were drawn. */
  drawn() {
    if (this.isOn && !this.timer) this.scan();
  }

  scan() {
    this.timer = 0;
    const { log } = this;
    const until = performance.now() + SLICE_MS;
    this.read = Math.max(this.read, log.gone);
    while (this.isOn && this.read - log.gone < log.rows.length) {
      const row = log.rows[this.read - log.gone];
      if (this.isMatch(row)) this.matches.push(row);
      this.read += 1;
      if (this.read % 256 === 0 && performance.now() > until) {
        this.timer = setTimeout(() => this.scan());
        break;
      }
    }
    if (!this.timer && this.isJumping) {
      this.isJumping = false;
      if (this.matches.length) this.go(1);
      else this.announce('No match');
    }
    this.show();
  }

  isMatch(row) {
    // A line that is still being written may become a match; it is searched as it is now.
    return row.stream !== 'page' && (!this.onlyErrors || this.log.isError(row)) && (!this.words || row.text.toLowerCase().includes(this.words));
  }

  /** Goes to the next match, or the one before it: from the last one or, at first, from what is in sight. */
  go(way) {
    const { matches, log } = this;
    const gone = matches.findIndex((row) => !row.isGone);
    this.at -= matches.splice(0, gone < 0 ? matches.length : gone).length;
    if (!matches.length) return;
    if (this.at < 0) {
      const first = log.blocks.firstInSight(90)?.order ?? 0;
      this.at = Math.max(0, matches.findIndex(({ order }) => order >= first));
    } else this.at = (this.at + way + matches.length) % matches.length;
    const row = matches[this.at];
    log.setFound(row);
    this.went();
    log.scrollTo(row);
    this.show();
    this.announce(`Match ${this.count.textContent}`);
  }

  show() {
    const total = this.matches.length;
    const format = (n) => n.toLocaleString('en');
    const of = this.at < 0 ? format(total) : `${format(this.at + 1)} of ${format(total)}`;
    const found = !this.isOn ? '' : total ? of : this.timer ? '…' : 'None';
    // Of a log that is too long for a page, only the rest is searched.
    const words = found && this.log.trimmed ? `${found} from line ${format(this.log.firstNumber)} on` : found;
    if (this.count.textContent !== words) this.count.textContent = words;
    this.count.hidden = !this.isOn;
    this.before.hidden = this.after.hidden = !total;
    this.highlight();
  }

  /** Highlights what is found in the rows in sight. Called when others come into sight. */
  highlight() {
    if (!window.Highlight || (!this.words && !this.isHighlit)) return;
    const ranges = [];
    for (const { isDrawn, rows } of this.words ? this.log.blocks.seen : []) {
      for (const row of isDrawn ? rows : []) {
        if (ranges.length < RANGES_MAX && this.isMatch(row)) ranges.push(...this.rangesIn(row));
      }
    }
    this.isHighlit = ranges.length > 0;
    CSS.highlights.set('found', new Highlight(...ranges));
  }

  rangesIn(row) {
    const ranges = [];
    const walker = document.createTreeWalker(row.element, NodeFilter.SHOW_TEXT);
    // Each piece of a line with several colours is searched by itself.
    while (walker.nextNode()) {
      const { data } = walker.currentNode;
      const text = data.toLowerCase();
      if (text.length !== data.length) continue;
      for (let at = text.indexOf(this.words); at >= 0; at = text.indexOf(this.words, at + this.words.length)) {
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + this.words.length);
        ranges.push(range);
      }
    }
    return ranges;
  }
}
