// "Show the script" without leaving the page: what was typed stays, secrets too, which the server never sends back.

const form = document.getElementById('queue');

form?.addEventListener('submit', async (event) => {
  if (event.submitter?.value !== 'preview') return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  const response = await fetch(form.action, { method: 'POST', body });
  if (response.redirected) return location.reload();
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const id of ['faults', 'preview']) {
    const [here, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (next) here.replaceChildren(...next.childNodes);
  }
  for (const fault of form.querySelectorAll('.fault')) {
    fault.textContent = fresh.getElementById(fault.id)?.textContent ?? '';
    const control = document.getElementById(fault.id.replace(/-fault$/, ''));
    if (fault.textContent) control?.setAttribute('aria-invalid', 'true');
    else control?.removeAttribute('aria-invalid');
  }
  const heading = document.getElementById('preview-h');
  (heading ?? form.querySelector('[aria-invalid=true]'))?.focus();
  heading?.scrollIntoView({ block: 'start' });
});

// A second press while the first is on its way does nothing; the form's key makes sure of it in any case.
let sent = false;
form?.addEventListener('submit', (event) => {
  if (event.submitter?.value === 'preview') return;
  if (sent) event.preventDefault();
  sent = true;
});
addEventListener('pageshow', () => (sent = false));
