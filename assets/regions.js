// The parts of a page that change (`data-region`): the page is fetched again and they are swapped,
// so that everything is drawn in one place, the server. No more often than once a second, and never
// two fetches at once. If a fetch takes long, the server gets a rest before the next one. The rest
// is bounded: a busy browser also makes fetches slow, and must not show an old state for minutes.

import { tick } from './time.js';

const PAUSE = 1000, REST = 5, REST_MAX = 10000;
let [timer, busy, again, next] = [0, false, false, 0];

// A submitted form leads to another page, for example if it deletes the page's subject.
let isLeaving = false;
addEventListener('submit', (event) => (isLeaving = !event.defaultPrevented));
addEventListener('pageshow', () => (isLeaving = false));

// Whether the control has input that was not sent.
const isTyped = (control) => control.type !== 'hidden' && (control.options
  ? [...control.options].some((option) => option.selected !== option.defaultSelected) && control.selectedIndex > 0
  : control.value !== control.defaultValue || control.checked !== control.defaultChecked);

/** Reloads the page, unless input would be lost: sending that input also leads to the sign-in. */
export function leave() {
  const controls = document.querySelectorAll('form[method=post] :is(input, select, textarea)');
  if (![...controls].some(isTyped)) return location.reload();
  if (document.getElementById('signed-out')) return;
  const words = 'You are signed out. Your form is kept, and you will be asked to sign in when you send it.';
  const sign = Object.assign(document.createElement('p'), { id: 'signed-out', className: 'connection-lost', textContent: words });
  sign.setAttribute('role', 'status');
  document.querySelector('main').before(sign);
}

/** Swaps the regions soon if the news (see `watch`) concerns something that they show (`data-shows`). */
export function refreshFor(news) {
  const shows = (region, { job, node }) => region.dataset.shows.split(' ').some((what) =>
    what === `node:${node}` || what === `job:${job}` || what === (job ? 'jobs' : 'nodes'));
  const regions = [...document.querySelectorAll('[data-region]')];
  if (!news || regions.some((region) => news.some((one) => shows(region, one)))) refresh();
}

/** Swaps the regions soon. */
export function refresh() {
  if (timer) return;
  if (busy) {
    again = true;
    return;
  }
  timer = setTimeout(run, Math.max(50, next - Date.now()));
}

async function run() {
  [timer, busy, again] = [0, true, false];
  const began = Date.now();
  try {
    const sources = new Set();
    for (const region of document.querySelectorAll('[data-region]')) sources.add(region.dataset.from ?? location.href);
    for (const source of sources) await swapFrom(source);
  } catch {
    // The stream shows that the connection is lost, and triggers a refresh when it is back.
  }
  busy = false;
  next = Date.now() + Math.min(REST_MAX, Math.max(PAUSE, REST * (Date.now() - began)));
  if (again) refresh();
}

async function swapFrom(source) {
  const response = await fetch(source, { cache: 'no-store', headers: { Accept: 'text/html' } });
  // The user is signed out: the page leads to the sign-in.
  if (response.redirected) return leave();
  // The page's subject is gone: the reloaded page shows that.
  if (response.status === 404 && source === location.href) return isLeaving || location.reload();
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  if (fresh.body.dataset.user !== document.body.dataset.user) return leave();
  document.getElementById('signed-out')?.remove();
  for (const region of document.querySelectorAll('[data-region]')) {
    if ((region.dataset.from ?? location.href) !== source) continue;
    const next = fresh.getElementById(region.id);
    if (next) swap(region, next);
  }
}

/** Replaces what is in the region by what is in `next`. The same link or button keeps the focus. */
export function swap(region, next) {
  tick(next);
  for (const button of next.querySelectorAll('[data-copy]')) button.hidden = false;
  if (region.innerHTML === next.innerHTML) return;
  const held = region.contains(document.activeElement) ? document.activeElement : null;
  region.replaceChildren(...next.childNodes);
  if (held) sameAs(held, region)?.focus({ preventScroll: true });
}

// The new link or button that stands for an old one. A link's text may have changed, such as a
// number.
export function sameAs(held, region) {
  const key = (element) => `${element.getAttribute('href')} ${element.textContent}`;
  const href = held.getAttribute('href');
  const elements = [...region.querySelectorAll('a, button')];
  return elements.find((element) => key(element) === key(held)) ??
    elements.find((element) => href && element.getAttribute('href') === href);
}
