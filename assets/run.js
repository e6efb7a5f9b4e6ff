// A run's page: fetches the head and the rows of the jobs that have changed, never the whole table.
// All markup is made on the server.

import { connectionBanner, watch } from './share.js';
import { leave, sameAs, swap as swapRegion } from './regions.js';
import { tick } from './time.js';

// Rows per fetch: few enough that no task takes long.
const ROWS = 100;
const PAUSE = 1000, REST = 5, REST_MAX = 10000;

const table = document.getElementById('run-jobs');
const rows = () => [...(table?.tBodies[0].rows ?? [])];
const address = new URL(`${location.pathname}/rows`, location);
for (const [name, value] of new URLSearchParams(location.search)) {
  if (name === 'scope') address.searchParams.append(name, value);
}

let state = table?.dataset.state ?? '';
let changed = new Set();
let all = false;
let [timer, busy, next] = [0, false, 0];

function soon() {
  if (timer || busy) return;
  timer = setTimeout(run, Math.max(50, next - Date.now()));
}

async function run() {
  [timer, busy] = [0, true];
  const began = Date.now();
  const wanted = all ? rows().map((row) => row.dataset.job) : [...changed];
  [changed, all] = [new Set(), false];
  try {
    // At least once, as the head may have changed without a row.
    for (let from = 0; from === 0 || from < wanted.length; from += ROWS) {
      if (!(await swap(wanted.slice(from, from + ROWS)))) break;
    }
  } catch {
    // The stream shows that the connection is lost, and its return fetches everything again.
    all = true;
  }
  busy = false;
  next = Date.now() + Math.min(REST_MAX, Math.max(PAUSE, REST * (Date.now() - began)));
  if (all || changed.size) soon();
}

/** Swaps the head and these jobs' rows; false if the page must be loaded again. */
async function swap(jobs) {
  const url = new URL(address);
  url.searchParams.set('state', state);
  for (const job of jobs) url.searchParams.append('job', job);
  const response = await fetch(url, { cache: 'no-store', headers: { Accept: 'text/html' } });
  if (response.redirected) return leave(), false;
  if (response.status === 404) return location.reload(), false;
  if (!response.ok) return false;
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  // The filter may have changed since the request.
  applyFilter(fresh);
  for (const row of fresh.querySelectorAll('tr[data-job]')) {
    const here = document.getElementById(row.id);
    if (!here || here.outerHTML === row.outerHTML) continue;
    const held = here.contains(document.activeElement) ? document.activeElement : null;
    tick(row);
    here.replaceWith(row);
    if (held) sameAs(held, row)?.focus({ preventScroll: true });
  }
  for (const id of ['run-actions', 'run-head']) {
    const [here, now] = [document.getElementById(id), fresh.getElementById(id)];
    if (now) swapRegion(here, now);
  }
  return true;
}

/** Hides the rows in other states than the chosen one, and marks the filter that is chosen. */
function applyFilter(root) {
  for (const link of root.querySelectorAll('a[data-filter]')) {
    if (link.dataset.filter !== state) link.removeAttribute('aria-current');
    else if (!link.hasAttribute('aria-current')) link.setAttribute('aria-current', 'true');
  }
  for (const row of root.querySelectorAll('tr[data-job]')) row.hidden = Boolean(state) && row.dataset.is !== state;
}

watch(document.body.dataset.live, {
  changed(news) {
    if (!news) all = true;
    else for (const { job } of news) if (job && document.getElementById(`job-${job}`)) changed.add(job);
    if (all || changed.size) soon();
  },
  connection: connectionBanner(),
});

// The filter by state, without another page.
document.addEventListener('click', (event) => {
  const link = event.target.closest('a[data-filter]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  state = link.dataset.filter;
  history.replaceState(null, '', link.href);
  applyFilter(document);
  link.focus();
});
