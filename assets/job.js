// A job's page: its output as it comes, its state as it changes.

import { follow, lineSign } from './share.js';
import { refresh } from './regions.js';
import { Log } from './log.js';
import { now } from './time.js';

const place = document.getElementById('log');
const build = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// The tools above the log, and the log itself.
const followButton = build('button', { type: 'button', textContent: 'Follow' });
const wrapButton = build('button', { type: 'button', textContent: 'Wrap' });
const errorButton = build('button', { type: 'button', textContent: 'First error' });
const linkButton = build('button', { type: 'button', textContent: 'Copy link', hidden: true });
const stepList = build('ol');
const steps = build('details', { className: 'steps', hidden: true }, build('summary', { textContent: 'Steps' }), stepList);
const tools = build('div', { className: 'tools' }, steps, linkButton, followButton, wrapButton, errorButton);
const lines = build('div', { className: 'lines', tabIndex: 0 });
const newLines = build('button', { type: 'button', className: 'new-lines primary', hidden: true });
const empty = build('p', { className: 'none', textContent: 'No output yet.' });
lines.setAttribute('role', 'log');
// Not announced line by line: that would drown the reader. The state above is.
lines.setAttribute('aria-live', 'off');
lines.setAttribute('aria-label', 'Output');
tools.setAttribute('role', 'toolbar');
tools.setAttribute('aria-label', 'Output');
place.replaceChildren(tools, lines, empty, newLines);

// Follow: the end stays in sight, until the reader scrolls up.
const NEAR = 60;
let follows = false;
let unseen = 0;
let lastTop = scrollY;
const root = document.documentElement;
const isAtEnd = () => root.scrollHeight - innerHeight - scrollY < NEAR;
const toEnd = () => scrollTo({ top: root.scrollHeight, behavior: 'instant' });

function setFollows(on) {
  follows = on;
  followButton.setAttribute('aria-pressed', String(on));
  if (on) {
    unseen = 0;
    newLines.hidden = true;
    toEnd();
  }
}

addEventListener('scroll', () => {
  if (scrollY < lastTop - 2 && !isAtEnd()) setFollows(false);
  else if (isAtEnd() && !follows && isRunning && unseen) setFollows(true);
  lastTop = scrollY;
}, { passive: true });

function onRows(count) {
  empty.hidden = true;
  if (follows) toEnd();
  else if (isRunning && !isAtEnd()) {
    unseen += count;
    newLines.textContent = `${unseen.toLocaleString('en')} new ${unseen === 1 ? 'line' : 'lines'} ↓`;
    newLines.hidden = false;
  }
  errorButton.hidden = !(log.firstError ?? log.firstStderr);
  if (wanted) showWanted();
}

function onStep({ number, of, name, row }) {
  steps.hidden = false;
  const link = build('a', { href: `#L${row.number}`, textContent: name });
  stepList.append(build('li', { value: number }, link));
  steps.firstElementChild.textContent = `Steps ${stepList.childElementCount} of ${of}`;
}

const log = new Log(lines, { onStep, onRows });

// Links to lines: #L12, #L12-L20. A click on a number makes one, with Shift a range.
let wanted = null;

function readHash() {
  const match = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash);
  if (!match) {
    wanted = null;
    mark(0, 0);
    return;
  }
  const [from, to] = [Number(match[1]), Number(match[2] ?? match[1])];
  wanted = [Math.min(from, to), Math.max(from, to)];
  setFollows(false);
  showWanted();
}

const hashOf = ([from, to]) => (from === to ? `#L${from}` : `#L${from}-L${to}`);

function mark(from, to) {
  const row = log.mark(from, to);
  linkButton.hidden = !log.target || !navigator.clipboard;
  linkButton.textContent = 'Copy link';
  return row;
}

function showWanted() {
  const row = mark(...wanted);
  if (!row) return;
  wanted = null;
  row.element.scrollIntoView({ block: 'center' });
}

lines.addEventListener('click', (event) => {
  const row = event.target.closest('.l[data-n]');
  // The number is drawn before the text, in the padding.
  if (!row || event.target !== row || event.clientX - row.getBoundingClientRect().left > gutter()) return;
  const number = Number(row.dataset.n);
  const from = event.shiftKey && log.target ? log.target[0] : number;
  const range = [Math.min(from, number), Math.max(from, number)];
  history.replaceState(null, '', hashOf(range));
  mark(...range);
});

const gutter = () => parseFloat(getComputedStyle(lines).getPropertyValue('--gutter')) * parseFloat(getComputedStyle(lines).fontSize);

// The buttons, and their keys.
function setWrap(on) {
  lines.classList.toggle('nowrap', !on);
  wrapButton.setAttribute('aria-pressed', String(on));
}

function toFirstError() {
  const row = log.firstError ?? log.firstStderr;
  if (!row?.element?.isConnected) return;
  setFollows(false);
  mark(row.number, row.number);
  row.element.scrollIntoView({ block: 'center' });
}

setWrap(true);
errorButton.hidden = true;
followButton.addEventListener('click', () => setFollows(!follows));
wrapButton.addEventListener('click', () => setWrap(lines.classList.contains('nowrap')));
errorButton.addEventListener('click', toFirstError);
linkButton.addEventListener('click', async () => {
  await navigator.clipboard.writeText(new URL(hashOf(log.target), location).href);
  linkButton.textContent = 'Copied';
});
newLines.addEventListener('click', () => setFollows(true));
addEventListener('hashchange', readHash);
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, dialog[open]')) return;
  if (event.key === 'f') setFollows(!follows);
  if (event.key === 'w') setWrap(lines.classList.contains('nowrap'));
  if (event.key === 'e') toFirstError();
});

// The stream.
let isRunning = false;
let isFirst = true;
follow(place.dataset.stream, place.dataset.events, place.dataset.job, {
  line: lineSign(),
  status({ status, cancelRequestedAt }) {
    isRunning = status === 'QUEUED' || status === 'RUNNING';
    if (isRunning && isFirst && !location.hash) setFollows(true);
    isFirst = false;
    const name = status === 'RUNNING' && cancelRequestedAt ? 'stopping' : status.toLowerCase();
    // It may have changed since the page was drawn.
    if (document.querySelector('#job-state .state').dataset.state !== name) refresh();
  },
  output(event) {
    const last = document.querySelector('#last-output time');
    if (last) last.dateTime = new Date(now()).toISOString();
    return log.take(event);
  },
  done() {
    isRunning = false;
    refresh();
    if (log.isEmpty) empty.textContent = 'No output.';
  },
});
readHash();

// What no event tells: a node that comes back, the first output's time.
setInterval(() => isRunning && !document.hidden && refresh(), 10000);
