// Times and durations, formatted as on the server (src/dashboard/words.rs) and kept up to date.

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

// The server's clock is used, as the browser's may be wrong.
const skew = Number(document.documentElement.dataset.now) - Date.now();
export const now = () => Date.now() + skew;

export function span(ms) {
  ms = Math.max(0, ms);
  const whole = (unit) => Math.floor(ms / unit);
  const two = (big, name, small, smallName) => {
    const rest = Math.floor((ms % big) / small);
    return rest ? `${whole(big)} ${name} ${rest} ${smallName}` : `${whole(big)} ${name}`;
  };
  if (ms < 10 * SECOND) return `${whole(SECOND)}.${Math.floor((ms % SECOND) / 100)} s`;
  if (ms < MINUTE) return `${whole(SECOND)} s`;
  if (ms < HOUR) return two(MINUTE, 'min', SECOND, 's');
  if (ms < DAY) return two(HOUR, 'h', MINUTE, 'min');
  return two(DAY, 'd', HOUR, 'h');
}

export function ago(ms) {
  if (ms < 5 * SECOND) return 'just now';
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s ago`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ago`;
  if (ms < 2 * DAY) return `${Math.floor(ms / HOUR)} h ago`;
  return `${Math.floor(ms / DAY)} d ago`;
}

export function ahead(ms) {
  if (ms < SECOND) return 'now';
  if (ms < MINUTE) return `in ${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `in ${Math.floor(ms / MINUTE)} min`;
  if (ms < 2 * DAY) return `in ${Math.floor(ms / HOUR)} h`;
  return `in ${Math.floor(ms / DAY)} d`;
}

/** What is left of a job's usual time. */
export function left(ms) {
  if (ms <= 0) return 'longer than usual';
  if (ms <= 10 * SECOND) return 'a few seconds left';
  if (ms <= MINUTE) return `about ${Math.ceil(ms / (10 * SECOND)) * 10} s left`;
  return `about ${span(Math.ceil(ms / MINUTE) * MINUTE)} left`;
}

const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Updates every time on the page.
export function tick(root = document) {
  const at = now();
  for (const element of root.querySelectorAll('time[data-ago]')) set(element, ago(at - Date.parse(element.dateTime)));
  for (const element of root.querySelectorAll('time[data-ahead]')) set(element, ahead(Date.parse(element.dateTime) - at));
  for (const element of root.querySelectorAll('[data-since]')) set(element, span(at - Number(element.dataset.since)));
  for (const element of root.querySelectorAll('[data-until]')) set(element, left(Number(element.dataset.until) - at));
  for (const element of root.querySelectorAll('[data-left]')) set(element, span(Number(element.dataset.left) - at));
  for (const bar of root.querySelectorAll('progress[data-at]')) bar.value = Number(bar.dataset.position) + at - Number(bar.dataset.at);
  for (const element of root.querySelectorAll('time[data-local]')) {
    element.title ||= element.textContent;
    set(element, local.format(new Date(element.dateTime)));
  }
}
