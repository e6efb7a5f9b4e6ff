// Links to lines: #L12, #L12-L20. A click on a line number creates one, Shift-click a range.

import { copy } from './copy.js';

const hashOf = ([from, to]) => (from === to ? `#L${from}` : `#L${from}-L${to}`);
const format = (n) => n.toLocaleString('en');

export class Links {
  /** `notice` shows why a line is missing, `button` copies the link, `went()` is called when the page scrolls to a line. */
  constructor(log, steps, { notice, button, went }) {
    Object.assign(this, { log, steps, notice, button, went, wanted: null });
    log.root.addEventListener('click', (event) => this.clicked(event));
    addEventListener('hashchange', () => this.read());
    button.addEventListener('click', async () => {
      const isCopied = await copy(new URL(hashOf(log.target), location).href);
      button.textContent = isCopied ? 'Copied' : 'Copy the address instead';
    });
  }

  read() {
    const match = /^#L(\d{1,15})(?:-L(\d{1,15}))?$/.exec(location.hash);
    this.notice.hidden = true;
    if (!match) {
      this.wanted = null;
      this.mark(0, 0);
      return;
    }
    const [from, to] = [Number(match[1]), Number(match[2] ?? match[1])];
    this.wanted = [Math.min(from, to), Math.max(from, to)];
    this.went();
    this.goToWanted(this.isOver);
  }

  /** Scrolls to the wanted lines, or shows why they are missing. */
  goToWanted(isOver) {
    this.isOver = isOver;
    if (!this.wanted) return;
    const { log } = this;
    const [from, to] = this.wanted;
    const row = this.mark(from, to);
    if (row) {
      this.wanted = null;
      this.show(row);
    }
    this.showNotice(this.why(from, to, row));
  }

  why(from, to, row) {
    const { log } = this;
    const first = log.rows.find(({ number }) => number)?.number;
    const lines = from === to ? `Line ${format(from)} is` : `Lines ${format(from)} to ${format(Math.min(to, first - 1))} are`;
    if (first && from < first && (!row || row.number !== from)) {
      return log.trimmed && from >= log.first
        ? `${lines} not shown here because the log is too long. Download it to see everything that is kept.`
        : `${lines} no longer kept: the log now begins with line ${format(log.first)}.`;
    }
    if (row || from <= log.lines) return '';
    if (this.isOver) return log.lines ? `There is no line ${format(from)}: the last one is ${format(log.lines)}.` : '';
    return `Line ${format(from)} has not arrived yet.`;
  }

  showNotice(words) {
    if (this.notice.textContent !== words) this.notice.textContent = words;
    this.notice.hidden = !words;
  }

  show(row) {
    this.steps.show(row.element);
    row.element.scrollIntoView({ block: 'center' });
  }

  mark(from, to) {
    const row = this.log.mark(from, to);
    this.button.hidden = !this.log.target;
    this.button.textContent = 'Copy link';
    return row;
  }

  /** Marks a row's line and scrolls to it. */
  goTo(row) {
    this.went();
    this.mark(row.number, row.number);
    this.show(row);
  }

  clicked(event) {
    const element = event.target.closest('.l[data-n]');
    // The line number is drawn in the padding before the text.
    if (!element || event.target !== element || event.clientX - element.getBoundingClientRect().left > this.gutter()) return;
    event.preventDefault();
    const number = Number(element.dataset.n);
    const from = event.shiftKey && this.log.target ? this.log.target[0] : number;
    const range = [Math.min(from, number), Math.max(from, number)];
    history.replaceState(null, '', hashOf(range));
    this.mark(...range);
  }

  gutter() {
    const style = getComputedStyle(this.log.root);
    return parseFloat(style.getPropertyValue('--gutter')) * parseFloat(style.fontSize);
  }
}
