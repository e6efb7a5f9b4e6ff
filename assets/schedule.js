// The form of a schedule: the next due times while the user types, in both zones.

import { tick } from './time.js';

const form = document.getElementById('schedule');
const zone = form?.elements.time_zone;
const cron = form?.elements.cron;
const times = document.getElementById('times');

/** `Tue 2026-12-01 03:00 +01:00` for a time as RFC 3339, as src/dashboard/schedules/when.rs writes it. */
function withWeekday(time) {
  const date = time.slice(0, 10);
  const weekday = new Date(`${date}T00:00Z`).toLocaleDateString('en', { weekday: 'short', timeZone: 'UTC' });
  const offset = time.slice(19);
  return `${weekday} ${date} ${time.slice(11, 16)}${offset.endsWith('Z') ? '' : ` ${offset}`}`;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function draw(found, zoneName) {
  const head = [zoneName, 'UTC', 'When'].map((words) => element('th', { scope: 'col', textContent: words }));
  const rows = found.map(({ utc, local }) => {
    const when = element('time', { dateTime: utc, title: utc });
    when.dataset.ahead = '';
    const cells = [
      element('td', { className: 'main', textContent: withWeekday(local) }),
      element('td', { textContent: withWeekday(utc) }),
      element('td', {}, when),
    ];
    cells[1].dataset.label = 'UTC';
    cells[2].dataset.label = 'When';
    return element('tr', {}, ...cells);
  });
  const table = element('table', { className: 'due' }, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows));
  times.replaceChildren(element('h3', { textContent: 'The next due times' }), table);
  tick(times);
}

function show(control, fault) {
  const words = fault ? `${fault[0].toUpperCase()}${fault.slice(1).replace(/\.$/, '')}.` : '';
  document.getElementById(`${control.id}-fault`).textContent = words;
  if (fault) control.setAttribute('aria-invalid', 'true');
  else control.removeAttribute('aria-invalid');
}

let asks = 0;

async function preview() {
  const asked = (asks += 1);
  if (!cron.value.trim() || !zone.value.trim()) return times.replaceChildren();
  const body = JSON.stringify({ cron: cron.value.trim(), timeZone: zone.value.trim() });
  const headers = { 'Content-Type': 'application/json' };
  const response = await fetch('/api/schedules/preview', { method: 'POST', headers, body });
  if (asked !== asks || ![200, 400].includes(response.status)) return;
  const answer = await response.json();
  if (asked !== asks) return;
  const fields = answer.fields ?? {};
  show(cron, fields.cron);
  show(zone, fields.timeZone);
  if (answer.times) draw(answer.times, zone.value.trim());
  else times.replaceChildren();
}

if (form) {
  // The browser's own zone, as long as nobody has chosen one.
  if ('guess' in zone.dataset) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || zone.value;
  document.getElementById('preview-times').hidden = true;
  let waits = 0;
  for (const control of [cron, zone]) {
    control.addEventListener('input', () => {
      clearTimeout(waits);
      waits = setTimeout(preview, 250);
    });
  }
  if (!times.childElementCount) preview();
  // Another preset has other params: the form is drawn again, with what was typed.
  const button = form.querySelector('[value=preset]');
  button.hidden = true;
  form.elements.preset.addEventListener('change', () => form.requestSubmit(button));
}
