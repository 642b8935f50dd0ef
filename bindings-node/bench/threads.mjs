// Eight worker threads, 95 reads to 5 writes over a Zipf-like choice of 200,000 keys of 64-byte
// strings. hypercache: one store for all of them; lru-cache: a copy in each, because a thread cannot
// see another one's heap; nothing: the loop alone.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { execFileSync } from 'node:child_process';

const THREADS = 8;
const KEYS = 200_000;
const SECONDS = Number(process.env.SECONDS ?? 4);

const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
/** Made anew each time, as in a program that is asked for something. */
const keyOf = (i) => `key:${i + 100_000_000}`;
const value = (i) => Buffer.from(`value ${i} `.padEnd(64, 'abcdefgh')).toString('latin1');

async function cacheOf(kind) {
  if (kind === 'nothing') return { get: () => undefined, set: () => {} };
  if (kind === 'hypercache') {
    const { Cache } = await import('hypercache');
    const cache = new Cache({ name: 'threads', maxBytes: '64MiB' });
    return { get: (key) => cache.getString(key), set: (key, text) => cache.set(key, text) };
  }
  const { LRUCache } = await import('lru-cache');
  return new LRUCache({ max: KEYS });
}

if (!isMainThread) {
  const cache = await cacheOf(workerData.kind);
  let seed = workerData.id + 1;
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let i = workerData.fills ? 0 : KEYS; i < KEYS; i++) cache.set(keyOf(i), value(i));
  parentPort.postMessage('ready');
  await new Promise((resolve) => parentPort.once('message', resolve));
  let [done, hits, wrong] = [0, 0, 0];
  const end = performance.now() + SECONDS * 1_000;
  while (performance.now() < end) {
    for (let i = 0; i < 1_000; i++) {
      const n = Math.floor(KEYS * random() ** 3);
      if (i % 20 === 0) cache.set(keyOf(n), value(n));
      else {
        const text = cache.get(keyOf(n));
        if (text !== undefined) {
          hits += 1;
          if (!text.startsWith(`value ${n} `)) wrong += 1;
        }
      }
    }
    done += 1_000;
  }
  parentPort.postMessage({ done, hits, wrong });
  await new Promise((resolve) => parentPort.once('message', resolve));
  process.exit();
} else if (process.argv[2] !== undefined) {
  const kind = process.argv[2];
  const cache = await cacheOf(kind);
  const workers = Array.from({ length: THREADS }, (_, id) =>
    new Worker(fileURLToPath(import.meta.url), { workerData: { kind, id, fills: kind !== 'hypercache' || id === 0 } }));
  const message = (worker) => new Promise((resolve) => worker.once('message', resolve));
  await Promise.all(workers.map(message));
  workers.forEach((worker) => worker.postMessage('go'));
  const results = await Promise.all(workers.map(message));
  const sum = (field) => results.reduce((total, result) => total + result[field], 0);
  console.log(JSON.stringify({ rate: sum('done') / SECONDS, hits: sum('hits') / sum('done'), wrong: sum('wrong'), rss: resident() }));
  workers.forEach((worker) => worker.postMessage('end'));
  cache.size;
} else {
  console.log(`${THREADS} worker threads, ${SECONDS} s, Node ${process.versions.node}\n`);
  console.log('                 operations a second   hit share   wrong values   RSS MB of the process');
  for (const kind of ['hypercache', 'lru-cache', 'nothing']) {
    const row = JSON.parse(execFileSync(process.execPath, [fileURLToPath(import.meta.url), kind], { encoding: 'utf8' }));
    console.log(
      kind.padEnd(16) + Math.round(row.rate).toLocaleString('en').padStart(20) + row.hits.toFixed(3).padStart(12) +
      String(row.wrong).padStart(15) + (row.rss / 1e6).toFixed(0).padStart(24),
    );
  }
}
