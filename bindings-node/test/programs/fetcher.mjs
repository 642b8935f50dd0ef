// A worker that fetches one key many times at once. The loader counts itself where all can see it.

import { parentPort, workerData } from 'node:worker_threads';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cache } from 'hypercache';

const { name, times, gate, calls, ms, fails } = workerData;
const cache = new Cache({ name });
const counters = new Int32Array(calls);

async function loader(key) {
  Atomics.add(counters, 0, 1);
  await sleep(ms);
  if (fails) throw new Error('the source is down');
  return { key, text: 'loaded', bytes: Buffer.alloc(100, 7) };
}

parentPort.postMessage('ready');
Atomics.wait(new Int32Array(gate), 0, 0);
let longest = 0;
let last = performance.now();
const beat = setInterval(() => {
  const now = performance.now();
  longest = Math.max(longest, now - last);
  last = now;
}, 5);
const results = await Promise.allSettled(Array.from({ length: times }, () => cache.fetch('one', loader)));
clearInterval(beat);
const said = results.map(({ value, reason }) => (reason === undefined ? JSON.stringify(value) : reason.code ?? reason.message));
parentPort.postMessage({ said: [...new Set(said)], count: said.length, longest });
cache.close();
