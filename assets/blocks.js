// The rows of the log in blocks. A block far from sight has no elements, only the height that they
// most likely have: it gets them when it comes near, or when the page has time. So the first rows
// don't wait for the last ones.

import { clock } from './clock.js';

const BLOCK = 200;
// Blocks at the beginning, which are most likely in sight.
const FIRST = 2;
// Maximum number of rows with elements, some 500 bytes each, besides those in sight. They are the
// last ones, and the browser's own search finds them.
const DRAWN_MAX = 120000;

class Block {
  constructor(body) {
    Object.assign(this, { body, rows: [], isDrawn: false, isOld: false, times: 'off' });
    this.element = document.createElement('div');
    this.element.className = 'block';
    this.element.ofBlock = this;
    body.append(this.element);
  }

  /** Gives it its most likely height. */
  setHeight() {
    const height = `calc(${this.rows.length} * var(--row))`;
    this.element.style.containIntrinsicSize = `auto ${height}`;
    this.element.style.minHeight = this.isDrawn ? '' : height;
  }
}

export class Blocks {
  /** Puts rows into the sections of `steps`. Calls `onSeen()` when others come into sight. */
  constructor(steps, onSeen) {
    Object.assign(this, { steps, onSeen, list: [], times: 'off', since: 0 });
    // Blocks that are in sight, or nearly.
    this.seen = new Set();
    // Blocks with other rows than at the last frame.
    this.grown = new Set();
    // Blocks that get elements when there is time.
    this.undrawn = new Set();
    // The index of the first block that is not old, and the number of rows from there.
    this.old = 0;
    this.recent = 0;
    this.inSight = new IntersectionObserver((entries) => this.see(entries), { rootMargin: '100% 0px' });
  }

  /** Adds a row at the end. With `mayWait`, it gets its element later, unless it is near what is in sight. */
  add(row, mayWait) {
    if (row.step) {
      this.make(row);
      this.steps.begin(row.step);
      this.stamp(row);
      this.addButton(row);
      return;
    }
    const { body } = this.steps;
    const last = this.list.at(-1);
    // Only a line's first row may begin a block.
    const fits = last?.body === body && (last.rows.length < BLOCK || row.isFurther);
    const block = fits ? last : this.begin(body, mayWait && this.list.length >= FIRST && !this.seen.has(last));
    row.block = block;
    block.rows.push(row);
    this.grown.add(block);
    if (block.isDrawn) {
      this.make(row);
      if (block.times !== 'off') this.stamp(row);
      if (this.seen.has(block)) this.addButton(row);
      block.element.append(row.element);
    }
    this.recent += 1;
    while (this.recent - this.list[this.old].rows.length >= DRAWN_MAX) this.makeOld(this.list[this.old]);
  }

  begin(body, mayWait) {
    const block = new Block(body);
    block.isDrawn = !mayWait;
    if (mayWait) this.undrawn.add(block);
    this.list.push(block);
    this.inSight.observe(block.element);
    return block;
  }

  // From now on, it has elements only while it is in sight.
  makeOld(block) {
    this.old += 1;
    this.recent -= block.rows.length;
    block.isOld = true;
    this.undrawn.delete(block);
    if (!this.seen.has(block)) this.erase(block);
  }

  /** Removes rows at the end. */
  removeLast(rows) {
    for (const row of rows.toReversed()) {
      row.element?.remove();
      row.element = row.button = null;
      if (!row.block) continue;
      row.block.rows.pop();
      this.recent -= 1;
      this.grown.add(row.block);
      row.block = null;
    }
    while (this.list.length && !this.list.at(-1).rows.length) this.remove(this.list.pop());
  }

  /** Removes the first block, and returns its rows. */
  removeFirst() {
    const block = this.list.shift();
    if (block.isOld) this.old -= 1;
    else this.recent -= block.rows.length;
    this.remove(block);
    return block.rows;
  }

  remove(block) {
    for (const set of [this.seen, this.grown, this.undrawn]) set.delete(block);
    this.inSight.unobserve(block.element);
    block.element.remove();
  }

  draw(block) {
    if (block.isDrawn) return;
    block.isDrawn = true;
    this.undrawn.delete(block);
    for (const row of block.rows) this.make(row);
    block.element.replaceChildren(...block.rows.map(({ element }) => element));
    this.grown.add(block);
  }

  erase(block) {
    if (!block.isDrawn || block.element.contains(document.activeElement)) return;
    block.isDrawn = false;
    block.times = 'off';
    for (const row of block.rows) row.element = row.button = null;
    block.element.replaceChildren();
    block.setHeight();
  }

  /** Makes elements for rows far from sight until that time. Returns whether there are more. */
  drawUntil(time) {
    for (const block of this.undrawn) {
      if (performance.now() > time) return true;
      this.draw(block);
    }
    return false;
  }

  /** Called once per frame. */
  setHeights() {
    for (const block of this.grown) block.setHeight();
    this.grown.clear();
  }

  /** Makes the element of a row, if it has none. */
  show(row) {
    if (!row.element && row.block) this.draw(row.block);
    this.setHeights();
  }

  make(row) {
    row.element = document.createElement('div');
    row.element.row = row;
    this.fill(row);
  }

  dress(row) {
    let names = 'l';
    if (row.stream === 'stderr') names += ' err';
    else if (row.stream === 'page') names += ' gap';
    if (row.step) names += ' step';
    if (row.isPart) names += ' part-of-line';
    // Nothing visible yet.
    if (!row.length && !row.hasEnded) names += ' begun';
    if (row.isTarget) names += ' target';
    if (row.isFound) names += ' found';
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
    for (const block of this.list) block.times = 'off';
    if (mode === 'off') return;
    for (const block of this.seen) this.dressSeen(block);
    for (const part of this.steps.parts) this.stamp(part.row);
  }

  see(entries) {
    for (const { target, isIntersecting } of entries) {
      const block = target.ofBlock;
      if (isIntersecting) {
        this.seen.add(block);
        this.draw(block);
        this.dressSeen(block);
      } else {
        this.seen.delete(block);
        if (block.isOld) this.erase(block);
      }
    }
    this.setHeights();
    this.onSeen();
  }

  dressSeen(block) {
    const isStamped = this.times === block.times;
    block.times = this.times;
    for (const row of block.rows) {
      this.addButton(row);
      if (!isStamped) this.stamp(row);
    }
  }

  stamp(row) {
    if (row?.at && row.element && this.times !== 'off') row.element.setAttribute('data-t', clock(row.at, this.times === 'since' ? this.since : 0));
  }

  /** The first row in sight that begins below that height. */
  firstInSight(top) {
    const isBelow = (element, edge) => element?.checkVisibility() && element.getBoundingClientRect()[edge] > top;
    for (const block of this.list.filter((block) => this.seen.has(block) && isBelow(block.element, 'bottom'))) {
      const row = block.rows.find(({ element }) => isBelow(element, 'top'));
      if (row) return row;
    }
    return null;
  }
}
