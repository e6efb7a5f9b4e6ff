// Before anything is painted: the colours that the reader has chosen, if not the system's. No
// module, as those wait.
(() => {
  try {
    const theme = localStorage.getItem('theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // Storage can be forbidden: then the system's colours stay.
  }
})();
