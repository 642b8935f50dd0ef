// Worker threads: one store, and ends of every kind.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Cache, Pool } from 'hypercache';

const entry = createRequire(import.meta.url).resolve('hypercache');

const program = (name) => new URL(`programs/${name}.mjs`, import.meta.url);

/** Runs a text in a worker of its own. */
function run(text, workerData) {
  return new Worker(`
    const { parentPort, workerData } = require('node:worker_threads');
    const { Cache, Pool, CuckooFilter } = require(workerData.hypercache);
    ${text}
  `, { eval: true, workerData: { hypercache: entry, ...workerData } });
}

test('the same name is the same store in every thread', async () => {
  const cache = new Cache({ name: 'threads', maxBytes: '8MiB' });
  cache.set('from', 'main');
  const other = run(`
    const cache = new Cache({ name: 'threads' });
    parentPort.postMessage(cache.get('from'));
    cache.set('from', { thread: 'worker' });
    cache.incr('n', 5);
  `);
  const [said] = await once(other, 'message');
  await once(other, 'exit');
  assert.equal(said, 'main');
  assert.deepEqual(cache.get('from'), { thread: 'worker' });
  assert.equal(cache.incr('n'), 6);
  cache.close();
});

test('eight threads on one store see no stale and no torn value', async () => {
  const [keys, workers, rounds] = [10_000, 8, 60_000];
  const cache = new Cache({ name: 'history', maxBytes: '1MiB' });
  const finished = new SharedArrayBuffer(4 * keys);
  const all = Array.from({ length: workers }, (_, id) =>
    new Worker(program('churn'), { workerData: { name: 'history', keys, rounds, id, workers, finished } }));
  const results = await Promise.all(all.map(async (one) => (await once(one, 'message'))[0]));
  await Promise.all(all.map((one) => one.threadId === -1 || once(one, 'exit')));
  assert.deepEqual(results.map(({ wrong }) => wrong), Array(workers).fill(null));
  assert.ok(results.every(({ hits }) => hits > 0));
  assert.ok(cache.stats().evicted > 0, 'the store is under eviction');
  cache.pool.validate();
  cache.close();
});

test('a worker that ends in whatever way gives its handles back', async () => {
  const ends = {
    return: '',
    exit: 'process.exit(3);',
    error: "throw new Error('nobody catches this');",
    rejection: "Promise.reject(new Error('nobody handles this'));",
    loop: "parentPort.postMessage('in it'); for (let i = 0; ; i++) cache.set('k' + (i % 1000), 'v' + cache.get('k5'));",
  };
  for (const [how, text] of Object.entries(ends)) {
    const name = `ends by ${how}`;
    const other = run(`
      const pool = new Pool({ name: ${JSON.stringify(name)}, maxBytes: '8MiB' });
      const cache = new Cache({ pool, name: 'c' });
      pool.on('pressure', () => {});
      cache.set('a', 1);
      const walk = cache.keys();
      walk.next();
      ${text}
    `);
    other.on('error', () => {});
    const ended = new Promise((resolve) => other.on('exit', resolve));
    if (how === 'loop') {
      await once(other, 'message');
      await other.terminate();
    }
    await ended;
    assert.throws(() => new Pool({ name }), { code: 'HC_NOT_FOUND' }, how);
  }
});

test('what a worker opened lives on with those who have it open', async () => {
  const cache = new Cache({ name: 'survives', maxBytes: '8MiB' });
  const other = run(`new Cache({ name: 'survives' }).set('k', Buffer.alloc(100_000, 'x')); process.exit();`);
  await once(other, 'exit');
  assert.deepEqual(cache.get('k'), Buffer.alloc(100_000, 'x'));
  cache.validate();
  cache.close();
});

test('destroyed by one thread it is closed for all', async () => {
  const cache = new Cache({ name: 'destroyed', maxBytes: '8MiB' });
  const other = run(`new Cache({ name: 'destroyed' }).destroy();`);
  await once(other, 'exit');
  assert.throws(() => cache.get('k'), { code: 'HC_ERR_CLOSED' });
  cache.close();
});
