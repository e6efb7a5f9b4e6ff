// Times of lines: the local time of day, or the time since the job's start.

const day = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
let [lastAt, lastSince, lastText] = [0, 0, ''];

/** `12:30:05`, or since a time `+2:05.3`, `+1:02:05`. Caches the last one: many lines have the same time. */
export function clock(at, since) {
  if (at === lastAt && since === lastSince) return lastText;
  [lastAt, lastSince] = [at, since];
  lastText = since ? passed(Math.max(0, at - since)) : day.format(at);
  return lastText;
}

function passed(ms) {
  const two = (n) => String(n).padStart(2, '0');
  const [hours, minutes, seconds] = [Math.floor(ms / 3600000), Math.floor(ms / 60000) % 60, Math.floor(ms / 1000) % 60];
  if (hours) return `+${hours}:${two(minutes)}:${two(seconds)}`;
  return `+${minutes}:${two(seconds)}.${Math.floor(ms / 100) % 10}`;
}
