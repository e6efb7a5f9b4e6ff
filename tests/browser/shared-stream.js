// Two tabs on one line, with the server's answers and the timers in hand; gives what each tab was
// sent. The second one joins when the first has had some, and before the stream is requested again
// it goes on, to the job's end.
const module = performance.getEntriesByType('resource').find(({ name }) => name.endsWith('/shared-stream.js')).name;
const { SharedStream } = await import(module);

const [streams, timers] = [[], []];
window.setTimeout = (act) => timers.push(act);
window.fetch = async (_address, { headers }) => {
  let out;
  const body = new ReadableStream({ start: (controller) => (out = controller) });
  streams.push({ from: headers['Last-Event-ID'], say: (text) => out.enqueue(new TextEncoder().encode(text)) });
  return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
};

function output(offset, data) {
  const event = { jobId: 'j', stream: 'stdout', offset, end: offset + data.length, data };
  return `event: output\nid: 7\ndata: ${JSON.stringify(event)}\n\n`;
}
const ended = 'event: job\nid: 8\ndata: {"id":"j","nodeId":"n","status":"SUCCEEDED"}\n\n';

/** Gives way to all that needs no timer, until it is so. */
async function until(isSo) {
  while (!isSo()) {
    await new Promise((done) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = done;
      port2.postMessage(null);
    });
  }
}

const line = new SharedStream('/api/events');
function tab() {
  const { port1, port2 } = new MessageChannel();
  const heard = { is: false, all: [] };
  port2.onmessage = ({ data }) => {
    if (data.alive) heard.is = true;
    if (data.output) heard.all.push([data.output.offset, data.output.data]);
    if (data.job) heard.all.push(data.job.status);
  };
  line.join(port1);
  port2.postMessage({ want: { live: false, job: 'j', at: { stdout: 0, stderr: 0 }, since: 1 } });
  return heard;
}

const first = tab();
await until(() => streams.length === 1);
streams[0].say(output(0, 'one\n'));
await until(() => first.all.length === 1);
const second = tab();
await until(() => second.is);
streams[0].say(output(4, 'two\n') + ended);
await until(() => first.all.length === 3);
for (const act of timers.splice(0)) act();
await until(() => streams.length === 2);
streams[1].say(output(0, 'one\ntwo\n') + ended);
await until(() => second.all.length >= 2);
return { from: streams.map(({ from }) => from), first: first.all, second: second.all };
