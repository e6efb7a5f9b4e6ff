// A job's page: live output and state.

import { follow, connectionBanner } from './share.js';
import { refresh } from './regions.js';
import { Log } from './log.js';
import { Steps } from './steps.js';
import { Links } from './links.js';
import { Follow } from './scroll.js';
import { now, span } from './time.js';
import { build, button } from './build.js';
import { Search } from './search.js';

const place = document.getElementById('log');

// The tools above the log, and the log itself.
const followButton = button('Follow');
const wrapButton = button('Wrap');
const timesButton = button('Timestamps');
const errorButton = button('First error', { hidden: true });
const linkButton = button('Copy link', { hidden: true });
const foldButton = button('Fold all', { hidden: true });
const tools = build('div', { className: 'tools' }, linkButton, foldButton, followButton, wrapButton, timesButton, errorButton);
const rail = document.getElementById('job-steps');
const bar = document.querySelector('.bar');
const notice = build('p', { className: 'notice', hidden: true });
const lines = build('div', { className: 'lines', tabIndex: 0, hidden: true });
const newLines = button('', { className: 'new-lines primary', hidden: true });
const empty = build('p', { className: 'none', textContent: 'No output yet.' });
const silence = build('p', { className: 'silence', hidden: true });
// For screen readers: changes of the state and the step, but not the counting time.
const news = build('p', { className: 'unseen' });
news.setAttribute('role', 'status');

function announce(words) {
  if (news.textContent !== words) news.textContent = words;
}

lines.setAttribute('role', 'log');
// Screen readers do not announce each line: there would be too many.
lines.setAttribute('aria-live', 'off');
lines.setAttribute('aria-label', 'Output');
tools.setAttribute('role', 'toolbar');
tools.setAttribute('aria-label', 'Output');
notice.setAttribute('role', 'status');
place.replaceChildren(news, tools, notice, lines, silence, empty, newLines);
// The heads of steps stick below the page's head and the tools, which may wrap.
const heights = new ResizeObserver(() => {
  const { style } = document.documentElement;
  style.setProperty('--bar', `${bar.offsetHeight}px`);
  style.setProperty('--tools', getComputedStyle(tools).position === 'sticky' ? `${tools.offsetHeight}px` : '0px');
});
for (const element of [bar, tools]) heights.observe(element);
document.querySelector('.about').open ||= matchMedia('(min-width: 1100px)').matches;

const following = new Follow(lines, followButton, newLines);
const steps = new Steps(lines, rail.querySelector('ol'), () => {
  foldButton.hidden = !steps.parts.length;
  if (steps.last) rail.hidden = false;
  if (steps.last && !isOver) {
    announce(steps.last.button.getAttribute('aria-label'));
    showStep();
  }
  foldButton.textContent = steps.isAllFolded ? 'Unfold all' : 'Fold all';
});

// The head's step, before the server has drawn it with what is left.
function showStep() {
  const shown = document.getElementById('job-step');
  if (shown?.textContent === steps.count) return;
  if (shown) shown.textContent = steps.count;
  refresh();
}

const log = new Log(lines, steps, {
  onSeen() {
    following.keep();
    search.highlight();
  },
  onRows(count) {
    lines.hidden = false;
    empty.hidden = true;
    following.drawn(count);
    errorButton.hidden = !log.hasErrors;
    links.goToWanted(isOver);
    links.drawn();
    search.drawn();
  },
});
const search = new Search(log, steps, { went: () => following.set(false), announce });
tools.prepend(search.element);
const links = new Links(log, steps, { notice, button: linkButton, went: () => following.set(false) });

// View settings, kept in this browser.
function keep(name, value) {
  try {
    localStorage.setItem(`log-${name}`, value);
  } catch {
    // Storage is not available: the setting is not kept.
  }
}

function kept(name) {
  try {
    return localStorage.getItem(`log-${name}`);
  } catch {
    return null;
  }
}

function setWrap(on) {
  lines.classList.toggle('nowrap', !on);
  wrapButton.setAttribute('aria-pressed', String(on));
  keep('wrap', on);
}

const TIMES = { off: 'Timestamps', day: 'Timestamps: time of day', since: 'Timestamps: since start' };

function setTimes(mode) {
  lines.classList.toggle('times', mode !== 'off');
  timesButton.textContent = TIMES[mode];
  timesButton.setAttribute('aria-pressed', String(mode !== 'off'));
  log.blocks.setTimes(mode, startedAt);
  keep('times', mode);
}

function nextTimes() {
  const names = Object.keys(TIMES);
  setTimes(names[(names.indexOf(log.blocks.times) + 1) % names.length]);
}

function toFirstError() {
  const row = log.firstError;
  if (row && !row.isGone && (row.element || row.block)) links.goTo(row);
}

function toStep(way) {
  const part = steps.beside(way);
  if (!part) return;
  following.set(false);
  part.head.scrollIntoView({ block: 'start' });
  part.button.focus({ preventScroll: true });
}

// Shows the job's state in the tab's title and icon.
const MARKS = { queued: '…', running: '▶', stopping: '■', succeeded: '✓', failed: '✗', cancelled: '⊘' };

function updateTab({ status, cancelRequestedAt }) {
  const name = status === 'RUNNING' && cancelRequestedAt ? 'stopping' : status.toLowerCase();
  document.title = `${MARKS[name]} ${document.title.slice(document.title.indexOf(' ') + 1)}`;
  document.querySelector('link[rel=icon]').href = new URL(`icons/tab-${name}.svg`, import.meta.url).href;
  return name;
}

// A hidden tab has no stream, so it polls now and then. It doesn't poll another user's job, as each
// access to it is audited.
const HIDDEN_MS = 10000;
let tabShowsEnd = false;
setInterval(async () => {
  if (!document.hidden || isOver || tabShowsEnd || place.dataset.events.includes('scope=')) return;
  const response = await fetch(`/api/jobs/${place.dataset.job}`, { cache: 'no-store' }).catch(() => null);
  if (response?.ok) tabShowsEnd = !['queued', 'running', 'stopping'].includes(updateTab(await response.json()));
}, HIDDEN_MS);

// The state when the page was drawn.
const drawnAs = document.querySelector('#job-state .state').dataset.state;
let isOver = ['succeeded', 'failed', 'cancelled'].includes(drawnAs);
let startedAt = 0;
if (isOver) following.end();
// For a failed job, only the step that failed is unfolded.
steps.foldsDone = drawnAs === 'failed';
setWrap(kept('wrap') !== 'false');
setTimes(TIMES[kept('times')] ? kept('times') : 'off');
wrapButton.addEventListener('click', () => setWrap(lines.classList.contains('nowrap')));
timesButton.addEventListener('click', nextTimes);
errorButton.addEventListener('click', toFirstError);
foldButton.addEventListener('click', () => steps.foldAll());
const keys = {
  f: () => following.toggle(),
  w: () => setWrap(lines.classList.contains('nowrap')),
  t: nextTimes,
  e: toFirstError,
  j: () => toStep(1),
  k: () => toStep(-1),
  z: () => steps.foldAll(),
  n: () => search.go(1),
  N: () => search.go(-1),
};
let before = '';
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, dialog[open]')) return;
  // After `g`, the key goes to a page.
  if (before !== 'g') keys[event.key]?.();
  before = event.key;
});
// A click anywhere in a step's head folds it, except on the line number or while selecting text.
lines.addEventListener('click', (event) => {
  const head = event.target.closest('.part-head');
  if (!head || event.defaultPrevented || event.target.closest('button') || !getSelection().isCollapsed) return;
  steps.fold(head.parentElement.ofStep);
});
// The full time as a tooltip.
lines.addEventListener('pointerover', (event) => {
  const element = event.target.closest('.l[data-t]');
  if (element) element.title = log.blocks.times === 'off' ? '' : new Date(element.row.at).toISOString();
});

// The stream.
const QUIET_MS = 5 * 60 * 1000;
let lastAt = 0;
let isFirst = true;
let wait = ' ';

function knowStart(at) {
  if (startedAt || !at) return;
  startedAt = Date.parse(at);
  if (log.blocks.times === 'since') log.blocks.setTimes('since', startedAt);
}

follow(place.dataset.stream, place.dataset.events, place.dataset.job, {
  connection: connectionBanner(),
  status(job) {
    isOver = false;
    knowStart(job.startedAt);
    following.isRunning = true;
    if (isFirst && !location.hash) following.set(true);
    isFirst = false;
    const name = updateTab(job);
    // The state may have changed since the page was drawn.
    const waits = `${job.confirmBy ?? ''} ${job.confirmRequestedAt ?? ''}`;
    if (document.querySelector('#job-state .state').dataset.state !== name) announce(`Job ${name}`);
    else if (waits === wait) return;
    else if (waits.endsWith(' ')) announce('Job waits for your confirmation');
    wait = waits;
    refresh();
  },
  output(event) {
    lastAt = event.at ? Date.parse(event.at) : now();
    const last = document.querySelector('#last-output time');
    if (last) last.dateTime = new Date(lastAt).toISOString();
    else if (following.isRunning) refresh();
    return log.take(event);
  },
  done(job) {
    const { status, startedAt, finishedAt, ranMs } = job;
    isOver = true;
    knowStart(startedAt);
    const name = updateTab(job);
    if (drawnAs !== name) announce(`Job ${name}`);
    refresh();
    log.afterAll(() => {
      following.end();
      if (log.isEmpty) empty.textContent = 'No output.';
      steps.end(status, { at: Date.parse(finishedAt), ms: ranMs ?? undefined });
      errorButton.hidden = !log.hasErrors;
      links.goToWanted(true);
    });
  },
});
links.read();

// No event reports that a node is back online.
setInterval(() => !isOver && !document.hidden && refresh(), 10000);
setInterval(() => {
  const since = now() - Math.max(lastAt, startedAt);
  silence.hidden = isOver || !startedAt || since < QUIET_MS;
  if (!silence.hidden) silence.textContent = `No output for ${span(since)}. The script may be waiting for something.`;
}, 1000);
