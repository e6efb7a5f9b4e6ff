// Starts the shared worker of a job's page (share.js), and with it the job's stream, while the page
// and its modules are still being read. Not a module, because modules are deferred.
(() => {
  const { dataset, src } = document.currentScript;
  // Null if the modules were quicker.
  if (!window.SharedWorker || document.hidden || window.earlyWorker === null) return;
  const worker = new SharedWorker(new URL('worker.js', src), { name: dataset.name, type: 'module' });
  worker.onerror = () => (worker.hasFailed = true);
  const since = Number(document.documentElement.dataset.now);
  worker.port.postMessage({ want: { since, live: false, job: dataset.job, at: { stdout: 0, stderr: 0 } } });
  window.earlyWorker = { worker, name: dataset.name };
})();
