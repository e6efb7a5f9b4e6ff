// The list of all keys.

const everywhere = [
  [`${/Mac|iPhone|iPad/.test(navigator.platform) ? '⌘' : 'Ctrl'} K`, 'go to a node, preset, job, run or page; run a preset'],
  ['g o', 'overview'], ['g j', 'jobs'], ['g r', 'runs'], ['g s', 'schedules'], ['g n', 'nodes'], ['g p', 'presets'],
  ['/', 'search'], ['?', 'this list'], ['Esc', 'close what is open'],
];
const job = [
  ['/', 'search in the log'], ['f', 'follow the output'], ['w', 'wrap lines'], ['t', 'timestamps'], ['e', 'first error'], ['n, N', 'next match, previous match'],
  ['j, k', 'next step, previous step'], ['z', 'fold or unfold all steps'],
  ['↑, ↓, Enter', 'in the log: another line, a link to it'], ['Shift+Enter', 'a link to the lines up to it'],
];

function section(title, keys) {
  const heading = document.createElement('h3');
  heading.textContent = title;
  const list = document.createElement('dl');
  for (const [key, does] of keys) {
    const [term, words, cap] = ['dt', 'dd', 'kbd'].map((name) => document.createElement(name));
    cap.textContent = key;
    term.append(cap);
    words.textContent = does;
    list.append(term, words);
  }
  return [heading, list];
}

/** Opens the list. */
export function showKeys() {
  let dialog = document.getElementById('keys');
  if (!dialog) {
    dialog = Object.assign(document.createElement('dialog'), { id: 'keys' });
    dialog.setAttribute('aria-labelledby', 'keys-h');
    const heading = Object.assign(document.createElement('h2'), { id: 'keys-h', textContent: 'Keys' });
    const form = Object.assign(document.createElement('form'), { method: 'dialog' });
    form.append(Object.assign(document.createElement('button'), { textContent: 'Close' }));
    dialog.append(heading, ...section('Everywhere', everywhere), ...section('On a job’s page', job), form);
    document.body.append(dialog);
  }
  dialog.showModal();
}
