// On every page: times, copy buttons, confirmations, colours, keys.

import { copy } from './copy.js';
import { tick } from './time.js';

tick();
setInterval(() => document.hidden || tick(), 1000);
document.addEventListener('visibilitychange', () => document.hidden || tick());

// Forms and buttons that ask for confirmation, before other listeners run. `data-sure` is the
// button's value after a yes.
document.addEventListener('submit', (event) => {
  const button = event.submitter;
  const question = button?.dataset.ask ?? event.target.dataset.ask;
  if (question && !window.confirm(question)) event.preventDefault();
  else if (button?.dataset.sure) button.value = button.dataset.sure;
}, true);

// Limits of text count characters, as the server's do; `maxlength` counts UTF-16 units.
document.addEventListener('input', ({ target }) => {
  const { min, max } = target.dataset;
  if (!min && !max) return;
  const { length } = [...target.value];
  const limit = length > Number(max ?? length) ? `At most ${max}` : length && length < Number(min ?? 0) ? `At least ${min}` : '';
  target.setCustomValidity(limit && `${limit} characters: this has ${length}.`);
});

// Keeps the line of a link through the sign-in: the fragment is not sent to the server.
const to = document.querySelector('form[action="/login"] [name=to]');
if (to && location.hash && !to.value.includes('#')) to.value += location.hash;

// Copy buttons need scripts, so they are shown here.
for (const button of document.querySelectorAll('[data-copy]')) button.hidden = false;
document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const isCopied = await copy(button.previousElementSibling.textContent);
  button.textContent = isCopied ? 'Copied' : 'Select it and press Ctrl+C';
  setTimeout(() => (button.textContent = 'Copy'), 1500);
});

// Menus close at a click elsewhere and at Esc.
const openMenus = () => document.querySelectorAll('.menu[open]');
document.addEventListener('click', ({ target }) => {
  for (const menu of openMenus()) if (!menu.contains(target)) menu.open = false;
});
document.addEventListener('keydown', ({ key }) => {
  for (const menu of key === 'Escape' ? openMenus() : []) {
    menu.open = false;
    menu.querySelector('summary').focus();
  }
});

// Colours: as the system, light, dark.
const toggle = document.getElementById('theme');
const root = document.documentElement;
const themes = { system: 'as the system', light: 'light', dark: 'dark' };
function showTheme() {
  toggle.setAttribute('aria-label', `Colours: ${themes[root.dataset.theme ?? 'system']}`);
  toggle.title = toggle.getAttribute('aria-label');
}
toggle.hidden = false;
showTheme();
toggle.addEventListener('click', () => {
  const names = Object.keys(themes);
  const next = names[(names.indexOf(root.dataset.theme ?? 'system') + 1) % names.length];
  if (next === 'system') delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    localStorage.setItem('theme', next);
  } catch {
    // Storage is not available: the choice is not kept.
  }
  showTheme();
});

// Keys: Ctrl+K opens the palette, `g` and a letter go to a page, `/` searches, `?` lists all keys.
// Single letters are letters in text fields.
const places = { o: '/', j: '/jobs', r: '/runs', s: '/schedules', n: '/nodes', p: '/presets' };
const [find, keys] = ['find', 'show-keys'].map((id) => document.getElementById(id));
const openPalette = () => import('./palette.js').then(({ togglePalette }) => togglePalette());
const showKeys = () => import('./keys.js').then(({ showKeys }) => showKeys());
if (find) {
  find.hidden = false;
  find.addEventListener('click', openPalette);
  if (/Mac|iPhone|iPad/.test(navigator.platform)) find.querySelector('kbd').textContent = '⌘ K';
}
keys.hidden = false;
keys.addEventListener('click', showKeys);
let goes = 0;
document.addEventListener('keydown', (event) => {
  const { key, ctrlKey, metaKey, altKey, shiftKey, target } = event;
  if (find && key.toLowerCase() === 'k' && ctrlKey !== metaKey && !altKey && !shiftKey) {
    event.preventDefault();
    return openPalette();
  }
  if (ctrlKey || metaKey || altKey || target.closest('input, textarea, select, dialog')) return;
  if (find && Date.now() - goes < 1500 && places[key]) location.assign(places[key]);
  goes = key === 'g' ? Date.now() : 0;
  if (key === '/') {
    const search = document.querySelector('input[type=search]');
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
  if (key === '?') showKeys();
});
