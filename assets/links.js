// Links to lines and steps: #L12, #L12-L20, #step-3. The number of a line is a button that creates
// one, with Shift a range. Tab reaches one of these buttons, and arrows go to the others.

import { copy } from './copy.js';

const hashOf = ([from, to]) => (from === to ? `#L${from}` : `#L${from}-L${to}`);
const format = (n) => n.toLocaleString('en');

export class Links {
  /** `notice` shows why a line is missing, `button` copies the link, `went()` is called when the page scrolls to a line. */
  constructor(log, steps, { notice, button, went }) {
    Object.assign(this, { log, steps, notice, button, went, wanted: null, current: null });
    log.root.addEventListener('click', (event) => this.clicked(event));
    log.root.addEventListener('keydown', (event) => this.pressed(event));
    // The browser scrolls after the event.
    log.root.addEventListener('focus', () => requestAnimationFrame(() => this.setCurrentInView()));
    addEventListener('hashchange', () => this.read());
    button.addEventListener('click', async () => {
      const isCopied = await copy(new URL(hashOf(log.target), location).href);
      button.textContent = isCopied ? 'Copied' : 'Copy the address instead';
    });
  }

  read() {
    const match = /^#L(\d{1,15})(?:-L(\d{1,15}))?$/.exec(location.hash);
    this.notice.hidden = true;
    // A run's page links to steps.
    this.wantedStep = Number(/^#step-(\d{1,3})$/.exec(location.hash)?.[1] ?? 0);
    if (!match) {
      this.wanted = null;
      this.mark(0, 0);
      if (!this.wantedStep) return;
      this.went();
      this.goToWanted(this.isOver);
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
    const part = this.wantedStep && this.steps.parts.find(({ number }) => number === this.wantedStep);
    if (part) {
      this.wantedStep = 0;
      this.steps.fold(part, false);
      part.element.scrollIntoView({ block: 'start' });
    }
    if (!this.wanted) return;
    const { log } = this;
    const [from, to] = this.wanted;
    const row = this.mark(from, to);
    if (row) {
      this.wanted = null;
      this.log.scrollTo(row);
    }
    this.showNotice(this.why(from, to, row));
  }

  why(from, to, row) {
    const { log } = this;
    const first = log.firstNumber;
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

  mark(from, to) {
    const row = this.log.mark(from, to);
    if (row) this.setCurrent(row);
    this.button.hidden = !this.log.target;
    this.button.textContent = 'Copy link';
    return row;
  }

  /** Marks a row's line and scrolls to it. */
  goTo(row) {
    this.went();
    this.mark(row.number, row.number);
    this.log.scrollTo(row);
  }

  clicked(event) {
    if (!event.target.matches('.n')) return;
    event.preventDefault();
    this.link(event.target.parentElement.row, event.shiftKey);
  }

  /** Puts the row's line, or the range up to it, into the address. */
  link(row, isRange) {
    const { number } = row;
    const from = isRange && this.log.target ? this.log.target[0] : number;
    const range = [Math.min(from, number), Math.max(from, number)];
    history.replaceState(null, '', hashOf(range));
    this.mark(...range);
    this.setCurrent(row);
  }

  /** Called after rows were drawn: a row that is drawn again has another element. */
  drawn() {
    if (this.current?.button?.isConnected && this.current.button.tabIndex === 0) return;
    const row = this.current && !this.current.isGone ? this.current : this.log.rows.find(({ number }) => number);
    if (row) this.setCurrent(row);
  }

  /** Makes the row the one that Tab reaches. */
  setCurrent(row) {
    if (this.current?.button) this.current.button.tabIndex = -1;
    this.log.blocks.show(row);
    this.log.blocks.addButton(row);
    this.current = row;
    row.button.tabIndex = 0;
    const name = row.stream === 'stderr' ? `Line ${format(row.number)}, stderr` : `Line ${format(row.number)}`;
    row.button.setAttribute('aria-label', `${name}: ${row.text.slice(0, 200)}`);
  }

  /** The next Tab must not scroll away from what is read. */
  setCurrentInView() {
    const isInView = ({ top, bottom }) => bottom > 0 && top < innerHeight;
    if (this.current && isInView(this.current.element.getBoundingClientRect())) return;
    const { left, top } = this.log.root.getBoundingClientRect();
    const y = Math.max(innerHeight / 2, top + 14);
    const element = document.elementFromPoint(left + 2, y)?.closest('.l[data-n], .block');
    // A block that has just come into view is not laid out yet.
    const row = element?.row ?? this.estimate(element, y);
    if (row) this.setCurrent(row);
  }

  estimate(block, y) {
    if (!block?.ofBlock) return null;
    const { rows } = block.ofBlock;
    const { top, height } = block.getBoundingClientRect();
    const row = rows[Math.floor(((y - top) / height) * rows.length)] ?? rows.at(-1);
    return this.beside(row.order - this.log.gone, 1);
  }

  pressed(event) {
    const { rows } = this.log;
    if (event.target !== this.current?.button || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.current.order - this.log.gone;
    let row = null;
    if (event.key === 'Enter') this.link(this.current, event.shiftKey);
    else if (event.key === 'ArrowDown') row = this.beside(at + 1, 1);
    else if (event.key === 'ArrowUp') row = this.beside(at - 1, -1);
    else if (event.key === 'Home') row = this.beside(0, 1);
    else if (event.key === 'End') row = this.beside(rows.length - 1, -1);
    else return;
    event.preventDefault();
    this.went();
    if (row) this.setCurrent(row);
    this.current.button.focus();
  }

  /** The row at that index, or after it in that direction, that has a number and is not folded. */
  beside(at, way) {
    const { rows } = this.log;
    const isVisible = ({ element, block }) => (element ?? block.element).checkVisibility();
    while (rows[at] && !(rows[at].number && isVisible(rows[at]))) at += way;
    return rows[at];
  }
}
