// "Show the script" and "Show the nodes" without leaving the page, so that secrets, which the
// server never sends back, stay in the form.

const form = document.getElementById('queue');

let isPlain = false;
form?.addEventListener('submit', async (event) => {
  if (!['preview', 'match'].includes(event.submitter?.value) || isPlain) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  const response = await fetch(form.action, { method: 'POST', body });
  // The user is signed out: the form itself is sent, which leads through the sign-in and back.
  if (response.status === 401) {
    isPlain = true;
    return form.requestSubmit(event.submitter);
  }
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const id of ['faults', 'preview', 'matches']) {
    const [here, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (here && next) here.replaceChildren(...next.childNodes);
  }
  for (const fault of form.querySelectorAll('.fault')) {
    fault.textContent = fresh.getElementById(fault.id)?.textContent ?? '';
    const control = document.getElementById(fault.id.replace(/-fault$/, ''));
    if (fault.textContent) control?.setAttribute('aria-invalid', 'true');
    else control?.removeAttribute('aria-invalid');
  }
  const heading = document.getElementById(event.submitter.value === 'match' ? 'matches-h' : 'preview-h');
  (heading ?? form.querySelector('[aria-invalid=true]'))?.focus();
  heading?.scrollIntoView({ block: 'start' });
});

// Searches nodes while the user types.
const node = document.querySelector('#f-node[type=search]');
const found = document.getElementById('found-nodes');
let asks = 0;

async function find() {
  const asked = (asks += 1);
  const response = await fetch(`${form.action}/nodes?${new URLSearchParams({ q: node.value })}`);
  if (!response.ok || response.redirected || asked !== asks) return;
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  if (asked === asks) found.replaceChildren(...fresh.body.childNodes);
}

if (node) {
  form.querySelector('[value=find]').hidden = true;
  let waits = 0;
  node.addEventListener('input', () => {
    clearTimeout(waits);
    waits = setTimeout(find, 150);
  });
  node.addEventListener('focus', () => found.childElementCount || node.value || find());
  found.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    event.preventDefault();
    asks += 1;
    node.value = button.value;
    document.getElementById('f-node-hint').textContent = button.dataset.words;
    document.getElementById('f-node-fault').textContent = '';
    node.removeAttribute('aria-invalid');
    node.focus();
    found.replaceChildren();
  });
}

// Ignores a second click while the form is being sent. The form's key also prevents a second job.
let sent = false;
form?.addEventListener('submit', (event) => {
  if (!['queue', 'confirmed'].includes(event.submitter?.value) || event.defaultPrevented) return;
  if (sent) event.preventDefault();
  sent = true;
});
addEventListener('pageshow', () => (sent = isPlain = false));
