(() => {
  // Every control has a name, every id is there once and every reference leads somewhere, headings
  // leave out no level, and text has a contrast of 4.5 (3 where it is large) against what is behind
  // it. Text has one of two weights, and rows of tables stand on a grid of 4 px.
  const faults = [];
  const all = (css) => [...document.querySelectorAll(css)].filter((e) => e.checkVisibility?.({ visibilityProperty: true }));
  const nameOf = (e) => e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || e.textContent.trim() || e.title ||
    e.querySelector('img[alt]')?.alt;
  for (const e of all('button, a[href], input:not([type=hidden]), select, textarea, summary')) {
    if (!nameOf(e)) faults.push(`no name: ${e.outerHTML.slice(0, 80)}`);
  }
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) faults.push(`id twice: ${id}`);
  for (const e of document.querySelectorAll('[aria-labelledby], label[for]')) {
    const id = e.getAttribute('aria-labelledby') ?? e.htmlFor;
    if (!document.getElementById(id)) faults.push(`leads nowhere: ${id}`);
  }
  if (all('h1').length !== 1) faults.push('not one h1');
  let level = 0;
  for (const e of all('h1, h2, h3, h4')) {
    const next = Number(e.tagName[1]);
    if (next > level + 1) faults.push(`heading skips a level: ${e.textContent}`);
    level = next;
  }
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, under) => {
    const a = top[3] / 255;
    return [0, 1, 2].map((i) => top[i] * a + under[i] * (1 - a)).concat(255);
  };
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  for (const e of all('body *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = getComputedStyle(e);
    const size = parseFloat(style.fontSize);
    if (!['400', '600'].includes(style.fontWeight)) faults.push(`weight ${style.fontWeight}: ${e.outerHTML.slice(0, 80)}`);
    const least = size >= 24 || (size >= 18.6 && style.fontWeight >= 600) ? 3 : 4.5;
    // Drawn by another element on top of it.
    if (!rgba(style.color)[3]) continue;
    const back = behind(e);
    const found = contrast(over(rgba(style.color), back), back);
    if (found < least) faults.push(`contrast ${found.toFixed(2)}: ${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
  }
  for (const e of innerWidth > 832 ? all('tr') : []) {
    const { height } = e.getBoundingClientRect();
    if (Math.abs(height / 4 - Math.round(height / 4)) > 0.01) faults.push(`${height} px high: ${e.outerHTML.slice(0, 120)}`);
  }
  return [...new Set(faults)].slice(0, 20);
})()
