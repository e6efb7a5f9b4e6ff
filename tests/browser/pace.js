// Notes, by the browser's own clock: when the first row of the log was painted, how many blocks
// of rows had been read by then, when all of them were painted, and the tasks that held the main
// thread for more than 50 ms.
window.pace = { first: 0, tasks: [] };
new PerformanceObserver((list) => window.pace.tasks.push(...list.getEntries().map((entry) => Math.round(entry.duration))))
  .observe({ type: 'longtask', buffered: true });
const rows = document.getElementsByClassName('l');
(function look() {
  if (rows.length && !window.pace.first) {
    window.pace.blocks ??= document.getElementsByClassName('block').length;
    setTimeout(() => (window.pace.first ||= Math.round(performance.now())));
  }
  if (rows.length >= (window.wanted ?? 1e9) && !window.pace.all) setTimeout(() => (window.pace.all ||= Math.round(performance.now())));
  if (!window.pace.all) requestAnimationFrame(look);
})();
