// Notes, by the browser's own clock: when the first row of the log was painted, how many blocks
// of rows had been read by then, when all of them were painted, and the tasks that held the main
// thread for more than 50 ms.
window.pace = { first: 0, tasks: [] };
new PerformanceObserver((list) => window.pace.tasks.push(...list.getEntries().map((entry) => Math.round(entry.duration))))
  .observe({ type: 'longtask', buffered: true });
// What comes before: the page, and the first of each kind of the shared worker's messages.
const note = (name) => (window.pace[name] ??= Math.round(performance.now()));
const Worker = window.SharedWorker;
window.SharedWorker = class extends Worker {
  constructor(...options) {
    super(...options);
    note('script');
    this.port.addEventListener('message', ({ data }) => note(Object.keys(data)[0]));
  }
};
addEventListener('DOMContentLoaded', () => {
  window.pace.page = Math.round(performance.getEntriesByType('navigation')[0].responseEnd);
  note('parsed');
});
const rows = document.getElementsByClassName('l');
(function look() {
  if (rows.length && !window.pace.first) {
    window.pace.blocks ??= document.getElementsByClassName('block').length;
    setTimeout(() => (window.pace.first ||= Math.round(performance.now())));
  }
  if (rows.length >= (window.wanted ?? 1e9) && !window.pace.all) setTimeout(() => (window.pace.all ||= Math.round(performance.now())));
  if (!window.pace.all) requestAnimationFrame(look);
})();
