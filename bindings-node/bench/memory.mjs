// A million entries of 64 bytes, filled, then churned: memory, time, pauses.
//
// Each candidate runs in a process of its own. "nothing" makes the same keys and values and stores
// none of them: what the strings themselves cost. The heap is measured after a collection; the
// resident set is what the process has grown by since before the fill, and at its highest.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';

const COUNT = 1_000_000;
const CHURN = 1_000_000;
const PAYLOAD = 16 + 64;
const LIMIT = 110 * COUNT;

const MAKERS = {
  async hypercache() {
    const { Cache } = await import('hypercache');
    const cache = new Cache({ maxBytes: LIMIT });
    return { set: (key, value) => cache.set(key, value), get: (key) => cache.getString(key), size: () => cache.size };
  },
  async 'lru-cache'() {
    const { LRUCache } = await import('lru-cache');
    const cache = new LRUCache({ max: COUNT });
    return { set: (key, value) => cache.set(key, value), get: (key) => cache.get(key), size: () => cache.size };
  },
  async 'quick-lru'() {
    const { default: QuickLRU } = await import('quick-lru');
    const cache = new QuickLRU({ maxSize: COUNT });
    return { set: (key, value) => cache.set(key, value), get: (key) => cache.get(key), size: () => cache.size };
  },
  async Map() {
    const map = new Map();
    return { set: (key, value) => map.set(key, value), get: (key) => map.get(key), size: () => map.size };
  },
  async nothing() {
    return { set: () => {}, get: () => undefined, size: () => 0 };
  },
};

const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;

const key = (i) => `key:${String(i).padStart(12, '0')}`;
/** A string of its own each time, as what comes from outside is. */
const value = (i) => Buffer.from(`value ${i} `.padEnd(64, 'abcdefgh')).toString('latin1');

async function measure(name) {
  const pauses = [];
  const observer = new PerformanceObserver((list) => list.getEntries().forEach((entry) => pauses.push(entry.duration)));
  observer.observe({ entryTypes: ['gc'] });
  const cache = await MAKERS[name]();
  for (let i = 0; i < 20_000; i++) {
    cache.set(key(i), value(i));
    cache.get(key(i));
  }
  gc();
  const [heap, rss] = [process.memoryUsage().heapUsed, resident()];
  const timed = async (count, step) => {
    let best = 0;
    const before = performance.now();
    for (let i = 0; i < count; i++) {
      step(i);
      if ((i & 0xffff) === 0) {
        best = Math.max(best, resident());
        // Lets the observer hear of collections.
        await new Promise(setImmediate);
      }
    }
    return { ns: ((performance.now() - before) * 1e6) / count, best };
  };
  pauses.length = 0;
  const fill = await timed(COUNT, (i) => cache.set(key(i), value(i)));
  const churn = name === 'Map'
    ? { ns: NaN, best: 0 }
    : await timed(CHURN, (i) => {
        cache.set(key(COUNT + i), value(i));
        cache.get(key(COUNT + ((i * 7_919) % (i + 1))));
      });
  await new Promise((resolve) => setTimeout(resolve, 50));
  const longest = Math.max(0, ...pauses);
  gc();
  gc();
  const after = process.memoryUsage().heapUsed;
  const entries = cache.size();
  console.log(JSON.stringify({
    entries,
    heap: after - heap,
    rss: resident() - rss,
    peak: Math.max(fill.best, churn.best) - rss,
    fill: fill.ns,
    churn: churn.ns,
    longest,
    collected: pauses.reduce((sum, pause) => sum + pause, 0),
  }));
}

if (process.argv[2] !== undefined) {
  await measure(process.argv[2]);
} else {
  console.log(`${COUNT.toLocaleString('en')} entries of 16-byte keys and 64-byte strings, then ${CHURN.toLocaleString('en')} more; Node ${process.versions.node}\n`);
  console.log('            entries   heap MB    RSS MB   peak MB  B an entry   set ns  churn ns  longest pause ms  in GC ms');
  const rows = {};
  const run = (name) => JSON.parse(execFileSync(process.execPath, ['--expose-gc', fileURLToPath(import.meta.url), name], { encoding: 'utf8' }));
  for (const name of Object.keys(MAKERS)) rows[name] = run(name);
  // Pauses are on the wall, with whatever else the machine does in them: the best of three.
  for (const name of ['hypercache', 'nothing', 'hypercache', 'nothing']) {
    rows[name].longest = Math.min(rows[name].longest, run(name).longest);
  }
  for (const [name, row] of Object.entries(rows)) {
    const mb = (bytes) => (bytes / 1e6).toFixed(1).padStart(10);
    const each = row.entries === 0 ? '' : (row.rss / row.entries).toFixed(0);
    const number = (n, digits = 0) => (n === null ? 'n/a' : n.toFixed(digits));
    console.log(
      name.padEnd(11) + String(row.entries).padStart(8) + mb(row.heap) + mb(row.rss) + mb(row.peak) + each.padStart(12) +
      number(row.fill).padStart(9) + number(row.churn).padStart(10) + number(row.longest, 1).padStart(18) + number(row.collected).padStart(10),
    );
  }
  const own = rows.hypercache;
  const checks = [
    ['heap, MB', own.heap / 1e6, 20],
    ['RSS beyond that of nothing and 110 bytes an entry, MB', (own.rss - rows.nothing.rss - 110 * own.entries) / 1e6, 8],
    ['longest pause beyond that of nothing, ms', own.longest - rows.nothing.longest, 10],
  ];
  console.log(`\npayload: ${PAYLOAD} bytes an entry`);
  for (const [what, found, most] of checks) {
    console.log(`${what.padEnd(56)}${found.toFixed(1).padStart(8)}  (at most ${most})${found <= most ? '' : '  SHORT'}`);
  }
}
