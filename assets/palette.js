// Ctrl+K: a field with a list of what the server finds for its text (`/palette`): nodes, presets,
// jobs, runs and pages. The focus stays in the field, and the keys choose in the list.

import { showKeys } from './keys.js';
import { tick } from './time.js';

const WAIT = 60;
let [dialog, field, list, none, timer, abort] = [];

/** Opens the palette, or closes it if it is open. */
export function togglePalette() {
  if (!dialog) build();
  if (dialog.open) return dialog.close();
  field.value = '';
  list.replaceChildren();
  none.textContent = '';
  dialog.showModal();
  load();
}

function build() {
  dialog = Object.assign(document.createElement('dialog'), { id: 'palette' });
  dialog.setAttribute('aria-label', 'Go to or run');
  field = Object.assign(document.createElement('input'), {
    type: 'text', placeholder: 'Node, preset, job, run, page; or: run deploy-web on …', maxLength: 100,
    autocomplete: 'off', spellcheck: false,
  });
  const names = { 'aria-label': 'Node, preset, job, run or page', role: 'combobox', 'aria-autocomplete': 'list',
    'aria-expanded': 'true', 'aria-controls': 'palette-list', autocapitalize: 'none' };
  for (const [name, value] of Object.entries(names)) field.setAttribute(name, value);
  list = Object.assign(document.createElement('div'), { id: 'palette-list' });
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Found');
  none = Object.assign(document.createElement('p'), { className: 'none' });
  none.setAttribute('role', 'status');
  const hint = Object.assign(document.createElement('p'), { className: 'hint' });
  for (const [key, does] of [['↑', ''], ['↓', 'choose'], ['Enter', 'go'], ['Esc', 'close']]) {
    hint.append(Object.assign(document.createElement('kbd'), { textContent: key }), ` ${does} `);
  }
  dialog.append(field, list, none, hint);
  document.body.append(dialog);
  field.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(load, WAIT);
  });
  field.addEventListener('keydown', onKey);
  list.addEventListener('pointermove', ({ target }) => activate(target.closest('[role=option]')));
  list.addEventListener('click', (event) => choose(event.target.closest('[role=option]'), event));
  dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close());
}

/** Shows what is found for the text in the field. Returns false if another text came in between. */
async function load() {
  clearTimeout(timer);
  abort?.abort();
  const mine = (abort = new AbortController());
  const q = field.value.trim();
  let text;
  try {
    const response = await fetch(`/palette?${new URLSearchParams({ q })}`, { signal: mine.signal, headers: { Accept: 'text/html' } });
    // The user is signed out: the page leads to the sign-in.
    if (response.redirected) return void location.reload();
    if (!response.ok) throw new Error(`${response.status}`);
    text = await response.text();
  } catch {
    if (mine === abort) none.textContent = 'The server does not answer. Type again to retry.';
    return false;
  }
  if (mine !== abort) return false;
  list.replaceChildren(...new DOMParser().parseFromString(text, 'text/html').body.childNodes);
  tick(list);
  const first = list.querySelector('[role=option]');
  none.textContent = first ? '' : 'Nothing found.';
  activate(first);
  list.dataset.q = q;
  return true;
}

function activate(option) {
  if (!option && list.querySelector('[role=option]')) return;
  list.querySelector('[aria-selected=true]')?.setAttribute('aria-selected', 'false');
  option?.setAttribute('aria-selected', 'true');
  if (option) field.setAttribute('aria-activedescendant', option.id);
  else field.removeAttribute('aria-activedescendant');
}

function onKey(event) {
  if (event.isComposing) return;
  const options = [...list.querySelectorAll('[role=option]')];
  const at = options.findIndex((option) => option.ariaSelected === 'true');
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && options.length) {
    event.preventDefault();
    const next = options[(at + step + options.length) % options.length];
    activate(next);
    next.scrollIntoView({ block: 'nearest' });
  } else if (event.key === 'Enter') {
    event.preventDefault();
    // Not what was found for the text before.
    if (list.dataset.q === field.value.trim()) choose(options[at], event);
    else load().then((isNew) => isNew && choose(list.querySelector('[role=option]'), event));
  }
}

function choose(option, { ctrlKey, metaKey }) {
  if (!option) return;
  const { go, type } = option.dataset;
  if (type) {
    field.value = type;
    field.focus();
    return load();
  }
  dialog.close();
  if (!go) showKeys();
  else if (ctrlKey || metaKey) window.open(go, '_blank', 'noopener');
  else location.assign(go);
}
