// Runs the dashboard's own modules on the table of cases in CASES. Returns what each case gives.
const load = (file) => import(performance.getEntriesByType('resource').find(({ name }) => name.endsWith(file)).name);
const { span, ago, ahead, left } = await load('/time.js');
const { Steps } = await load('/steps.js');

// A row whose time is 0 has no time.
const START = 1e12;
const STATES = { skipped: 'already done', succeeded: 'done' };

function parse({ status, lines }) {
  const steps = new Steps(document.createElement('div'), document.createElement('ol'), () => {});
  for (const [stream, second, begin, last = '', times = 0] of lines) {
    const text = begin + last.repeat(times);
    if (stream === 'gap') steps.markGap();
    else {
      const row = { stream, text, length: text.length, at: START + second * 1000, element: document.createElement('div') };
      const step = steps.of(row);
      if (step) steps.begin(step);
    }
  }
  if (status !== 'RUNNING') steps.end(status, { at: START + 100_000 });
  return steps.parts.map(({ number, item, word, took, state }) => [
    number,
    item.querySelector('a').lastChild.textContent,
    word.textContent === 'Verify failed' ? 'verify failed' : STATES[state] ?? state,
    took.dataset.since ? '' : took.textContent,
  ]);
}

return {
  span: CASES.span.map(([ms]) => span(ms)),
  ago: CASES.ago.map(([ms]) => ago(ms)),
  ahead: CASES.ahead.map(([ms]) => ahead(ms)),
  left: CASES.left.map(([ms]) => left(ms)),
  steps: CASES.steps.map(parse),
};
