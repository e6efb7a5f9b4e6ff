// The editor of presets. Colours YAML and bash in a copy behind the text area, shows the linter's
// findings as one types, and shows changes and a test without leaving the page.

const form = document.getElementById('editor');
const box = document.getElementById('editor-box');
const text = document.getElementById('f-source');
const list = document.getElementById('findings');
// Longer texts are shown without colours, which would take too long at each key.
const COLOURED_MAX = 100_000;
const WORDS = 'if then elif else fi for while until do done case esac in function select time return exit local export readonly set';
const BASH = new RegExp(
  [
    "(?<s>'[^']*'?|\"(?:[^\"\\\\]|\\\\.)*\"?)",
    '(?<c>(?:^|(?<=[\\s;&|(]))#.*)',
    '(?<v>\\$(?:\\w+|\\{[^}]*\\}?|[@*#?$!-]))',
    `(?<w>(?<![\\w.\\/-])(?:${WORDS.replaceAll(' ', '|')})(?![\\w.\\/=-]))`,
  ].join('|'),
  'g',
);
const YAML = /(?<c>(?:^|(?<=\s))#.*)|(?<k>(?:^|(?<=[\s{,-]))[A-Za-z_][\w-]*(?=\s*:(?:\s|$)))|(?<s>'[^']*'?|"(?:[^"\\]|\\.)*"?)/g;

let copy = null;
let findings = [];

function colour(line, pattern, into) {
  let end = 0;
  for (const match of line.matchAll(pattern)) {
    into.append(line.slice(end, match.index));
    const part = document.createElement('span');
    part.className = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    part.textContent = match[0];
    into.append(part);
    end = match.index + match[0].length;
  }
  into.append(line.slice(end));
}

// A block of `run: |` goes on while its lines are indented more than its key.
function draw() {
  const isLong = text.value.length > COLOURED_MAX;
  box.classList.toggle('coloured', !isLong);
  copy.hidden = isLong;
  if (isLong) return;
  const bad = new Map();
  const rank = { error: 0, warning: 1, note: 2 };
  for (const { line, severity } of findings) {
    if (!bad.has(line) || rank[severity] < rank[bad.get(line)]) bad.set(line, severity);
  }
  const lines = document.createDocumentFragment();
  let block = null;
  text.value.split('\n').forEach((line, index) => {
    const row = document.createElement('span');
    row.className = 'l';
    if (bad.has(index + 1)) row.dataset.severity = bad.get(index + 1);
    const indent = line.search(/\S/);
    if (block !== null && indent >= 0 && indent <= block) block = null;
    colour(line, block === null ? YAML : BASH, row);
    const key = line.match(/^(\s*(?:- +)?)(?:run|unless|verify|undo):\s*[|>]/);
    if (key) block = key[1].length;
    lines.append(row);
  });
  copy.replaceChildren(lines);
}

function show(found) {
  findings = found;
  const items = found.map(({ line, column, severity, message, rule }) => {
    const item = document.createElement('li');
    Object.assign(item.dataset, { severity, line, column });
    const [word, code] = ['span', 'code'].map((name) => document.createElement(name));
    word.className = 'severity';
    word.textContent = severity;
    code.textContent = rule;
    item.append(jumper(line, column), ' ', word, ` ${message} `, code);
    return item;
  });
  const all = document.createElement(items.length ? 'ol' : 'p');
  all.className = items.length ? 'findings' : 'dim';
  all.append(...(items.length ? items : ['The linter finds no problems.']));
  list.replaceChildren(all);
  draw();
}

function jumper(line, column) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = `Line ${line}`;
  button.addEventListener('click', () => {
    const lines = text.value.split('\n');
    const at = lines.slice(0, line - 1).reduce((sum, it) => sum + it.length + 1, 0);
    text.focus();
    text.setSelectionRange(at + Number(column) - 1, at + (lines[line - 1]?.length ?? 0));
    const row = copy?.children[line - 1];
    row?.scrollIntoView({ block: 'center', inline: 'nearest' });
  });
  return button;
}

let asked = 0;
let waits = 0;
async function check() {
  const mine = (asked += 1);
  const own = text.value.match(/^name:\s*["']?([a-z0-9-]+)/m)?.[1];
  const name = form.dataset.name ?? own ?? 'new';
  const response = await fetch(`/api/presets/${encodeURIComponent(name)}/check`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ source: text.value }),
  }).catch(() => null);
  if (mine !== asked) return;
  if (response?.ok) {
    const body = await response.json();
    if (mine === asked) show(body.findings);
  } else if (response?.status === 503 || response?.status === 429) {
    waits = setTimeout(check, 2000);
  }
}

// Enter keeps the indentation.
function newline(event) {
  if (event.key !== 'Enter' || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const before = text.value.slice(0, text.selectionStart);
  const indent = before.slice(before.lastIndexOf('\n') + 1).match(/^[ ]*/)[0];
  if (!indent) return;
  event.preventDefault();
  document.execCommand('insertText', false, `\n${indent}`);
}

// Shows the answer to "Show changes" and "Show the script" in this page.
async function submit(event) {
  const wish = event.submitter?.value;
  if (!['changes', 'render'].includes(wish)) {
    isSent = true;
    return;
  }
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  const response = await fetch(form.action, { method: 'POST', body }).catch(() => null);
  // Signed out, or no connection: the text stays here.
  if (!response || response.status === 401) {
    const note = document.createElement('p');
    note.className = 'alert';
    note.role = 'alert';
    note.textContent = response
      ? 'Your session has ended. Sign in in another tab, then try again: your text stays here.'
      : 'The server can’t be reached. Try again: your text stays here.';
    document.getElementById('faults').replaceChildren(note);
    return;
  }
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const id of ['faults', 'changes', 'test']) {
    const next = fresh.getElementById(id);
    if (next) document.getElementById(id).replaceChildren(...next.childNodes);
  }
  const heading = document.getElementById(wish === 'changes' ? 'changes-h' : 'script-h');
  (heading ?? document.querySelector('#test [aria-invalid=true]'))?.focus();
  heading?.scrollIntoView({ block: 'start' });
}

const saved = text?.defaultValue;
let isSent = false;
if (form) {
  document.getElementById('check-again').hidden = true;
  copy = document.createElement('pre');
  copy.className = 'copy';
  copy.ariaHidden = 'true';
  box.prepend(copy);
  const known = [...list.querySelectorAll('li')];
  findings = known.map((item) => ({ line: Number(item.dataset.line), severity: item.dataset.severity }));
  for (const item of known) item.querySelector('b').replaceWith(jumper(item.dataset.line, item.dataset.column));
  draw();
  text.addEventListener('input', () => {
    draw();
    clearTimeout(waits);
    waits = setTimeout(check, 400);
  });
  text.addEventListener('keydown', newline);
  form.addEventListener('submit', submit);
  addEventListener('pageshow', () => (isSent = false));
  addEventListener('beforeunload', (event) => {
    if (!isSent && text.value !== saved) event.preventDefault();
  });
}
