// Sets the chosen colours before the first paint. Not a module, because modules are deferred.
(() => {
  try {
    const theme = localStorage.getItem('theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // Storage can be forbidden: then the system's colours stay.
  }
})();
