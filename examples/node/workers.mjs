// One cache for all worker threads: opened by its name, it is the same memory in each of them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker, isMainThread, workerData } from 'node:worker_threads';
import { Cache } from 'hypercache';

const THREADS = 4;
const cache = new Cache({ name: 'shared', maxBytes: '32MiB' });

if (isMainThread) {
  const workers = Array.from({ length: THREADS }, (_, id) => new Worker(new URL(import.meta.url), { workerData: id }));
  await Promise.all(workers.map((worker) => once(worker, 'exit')));
  assert.equal(cache.get('done'), THREADS);
  for (let id = 0; id < THREADS; id++) assert.deepEqual(cache.get(['result', id]), { id, squares: [0, 1, 4, 9] });
  console.log('workers:', cache.get('done'), 'threads wrote to one cache of', cache.size, 'entries');
} else {
  cache.set(['result', workerData], { id: workerData, squares: [0, 1, 2, 3].map((n) => n * n) });
  cache.incr('done');
}
cache.close();
