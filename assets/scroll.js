// Follow: the end of the log stays in view until the user scrolls up. Then a button shows the
// number of new lines.

const NEAR = 60;
// Space below the end of the log, in pixels.
const BELOW = 24;
const root = document.documentElement;

export class Follow {
  /** `button` turns following the end of `log` on and off, `offer` shows the number of new lines and scrolls to them. */
  constructor(log, button, offer) {
    Object.assign(this, { log, button, offer, on: false, isRunning: false, unseen: 0, lastTop: scrollY });
    button.setAttribute('aria-pressed', 'false');
    button.addEventListener('click', () => this.toggle());
    offer.addEventListener('click', () => this.set(true));
    addEventListener('scroll', () => this.scrolled(), { passive: true });
  }

  get isAtEnd() {
    return this.log.getBoundingClientRect().bottom - innerHeight < NEAR;
  }

  set(on) {
    this.on = on && this.isRunning;
    if (!this.isRunning) return;
    this.button.setAttribute('aria-pressed', String(on));
    if (!on) return;
    this.unseen = 0;
    this.offer.hidden = true;
    this.toEnd();
  }

  toggle() {
    if (this.isRunning) this.set(!this.on);
    else this.toEnd();
  }

  /** The output has ended. */
  end() {
    if (this.on) this.toEnd();
    this.isRunning = this.on = false;
    this.offer.hidden = true;
    this.button.textContent = 'Jump to end';
    this.button.removeAttribute('aria-pressed');
  }

  toEnd() {
    // A short log needs no scrolling: what is above it stays in view.
    const { bottom } = this.log.getBoundingClientRect();
    const isInView = bottom > BELOW && bottom + BELOW <= innerHeight;
    if (!isInView) scrollTo({ top: scrollY + bottom + BELOW - innerHeight, behavior: 'instant' });
    // Without delay: this scroll and one by the user may be reported as one event.
    this.rememberScroll();
  }

  rememberScroll() {
    [this.lastTop, this.lastHeight] = [scrollY, root.scrollHeight];
  }

  scrolled() {
    // Folding may shorten the page, which does not count as scrolling up.
    const isShorter = root.scrollHeight < this.lastHeight;
    if (scrollY < this.lastTop - 2 && !isShorter && !this.isAtEnd) this.set(false);
    else if (!this.on && this.isRunning && this.unseen && this.isAtEnd) this.set(true);
    this.rememberScroll();
  }

  /** Called after the height of the log may have changed. */
  keep() {
    if (this.on) this.toEnd();
  }

  /** Called after rows were added. */
  drawn(count) {
    if (this.on) this.toEnd();
    else if (this.isRunning && !this.isAtEnd) {
      this.unseen += count;
      this.offer.textContent = `${this.unseen.toLocaleString('en')} new ${this.unseen === 1 ? 'line' : 'lines'} ↓`;
      this.offer.hidden = false;
    }
  }
}
