// Nothing here keeps a process alive, and no end of it harms.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));

/** Runs a program and gives how it ended and what it said. */
function run(program, ...flags) {
  const text = `const { Cache, Pool, CuckooFilter } = require('hypercache');\n${program}`;
  return new Promise((resolve) => {
    execFile(process.execPath, [...flags, '-e', text], { cwd: here, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? error.signal), stdout: stdout.trim(), stderr });
    });
  });
}

const OPEN = `
  const pool = new Pool({ maxBytes: '8MiB', name: 'p' });
  const cache = new Cache({ pool, name: 'c' });
  const filter = new CuckooFilter({ capacity: 100, pool });
  pool.on('pressure', () => {});
  cache.set('k', 'v');
  const walk = cache.entries();
  walk.next();
`;

test('a process ends with everything open', async () => {
  assert.deepEqual(await run(`${OPEN} console.log('done');`), { code: 0, stdout: 'done', stderr: '' });
});

test('process.exit in the middle', async () => {
  assert.deepEqual(await run(`${OPEN} process.exit(7);`), { code: 7, stdout: '', stderr: '' });
});

test('an error that nobody catches', async () => {
  const { code, stderr } = await run(`${OPEN} throw new Error('oops');`);
  assert.equal(code, 1);
  assert.match(stderr, /Error: oops/);
});

test('an error of a listener reaches the process', async () => {
  const { code, stderr } = await run(`
    const pool = new Pool({ maxBytes: '8MiB', pressureOfUsed: true, elevated: 20, high: 30, critical: 40 });
    pool.on('pressure', () => { throw new Error('from the listener'); });
    setInterval(() => {}, 1000);
    const cache = new Cache({ pool });
    for (let i = 0; i < 50000; i++) cache.set(i, 'x'.repeat(200));
  `);
  assert.notEqual(code, 0);
  assert.match(stderr, /from the listener/);
});

test('process.exit while workers use the store', async () => {
  const { code, stderr } = await run(`
    const { Worker } = require('node:worker_threads');
    const cache = new Cache({ maxBytes: '8MiB', name: 'c' });
    const text = "const { Cache } = require('hypercache'); const cache = new Cache({ name: 'c' });" +
      "require('node:worker_threads').parentPort.postMessage(1);" +
      "for (let i = 0; ; i++) { cache.set('k' + i % 5000, 'x'.repeat(i % 300)); cache.getMany(['k1', 'k2']); }";
    let begun = 0;
    for (let i = 0; i < 4; i++) new Worker(text, { eval: true }).on('message', () => {
      if (++begun === 4) setTimeout(() => process.exit(5), 50);
    });
  `);
  assert.deepEqual({ code, stderr }, { code: 5, stderr: '' });
});

test('what nobody closed goes with the garbage', async () => {
  const { stdout, stderr } = await run(`
    for (let i = 0; i < 50; i++) new Cache({ maxBytes: '8MiB', name: 'n' + i }).set('k', 1);
    (async () => {
      for (let i = 0; i < 50; i++) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
        let open = 0;
        for (let j = 0; j < 50; j++) try { new Pool({ name: 'n' + j }).close(); open++; } catch {}
        if (open === 0) { console.log('all gone'); return; }
      }
    })();
  `, '--expose-gc');
  assert.deepEqual({ stdout, stderr }, { stdout: 'all gone', stderr: '' });
});

test('thousands of caches, opened and closed or left, leave no memory and no descriptor behind', async () => {
  const { stdout, stderr } = await run(`
    const { readdirSync } = require('node:fs');
    const pool = new Pool({ maxBytes: '64MiB' });
    const used = () => ({ rss: process.memoryUsage.rss(), files: readdirSync('/proc/self/fd').length });
    const rounds = async (count) => {
      for (let i = 0; i < count; i++) {
        const cache = new Cache(i % 2 ? { pool } : { maxBytes: '1MiB' });
        cache.set('k', { i });
        if (i % 4 < 2) await Promise.all([cache.fetch('l', async () => i), cache.fetch('l', () => i)]);
        if (i % 5 !== 0) cache.close();
        if (i % 100 === 0) { gc(); await new Promise(setImmediate); }
      }
      gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    (async () => {
      await rounds(500);
      const before = used();
      await rounds(2_000);
      const after = used();
      console.log(JSON.stringify({ grown: after.rss - before.rss, files: after.files - before.files, stores: pool.stats().stores }));
    })();
  `, '--expose-gc');
  const { grown, files, stores } = JSON.parse(stdout || `"${stderr}"`);
  assert.ok(grown < 16 << 20, `the process grew by ${grown} bytes`);
  assert.ok(files <= 2, `${files} descriptors more`);
  assert.ok(stores <= 20, `${stores} stores`);
});

test('a cache that is gone lets those who wait have their values', async () => {
  const { stdout } = await run(`
    let cache = new Cache({ maxBytes: '8MiB', leaseTime: 300 });
    const sleep = (ms, value) => new Promise((resolve) => setTimeout(resolve, ms, value));
    const said = [];
    const say = (value) => said.push(value);
    cache.fetch('never', () => new Promise(() => {}));
    cache.fetch('never', () => 'after the lease').then(say);
    cache.fetch('late', () => sleep(100, 'late')).then(say);
    cache.fetch('late', () => 'not asked').then(say);
    cache = undefined;
    const timer = setInterval(gc, 5);
    (async () => {
      while (said.length < 3) await sleep(10);
      clearInterval(timer);
      console.log(said.join());
    })();
  `, '--expose-gc');
  assert.equal(stdout, 'late,late,after the lease');
});

test('values stay off the heap', async () => {
  const { stdout } = await run(`
    const cache = new Cache({ maxBytes: '256MiB' });
    const value = 'x'.repeat(64);
    gc();
    const before = process.memoryUsage();
    for (let i = 0; i < 1000000; i++) cache.set('key:' + i, value);
    gc();
    const after = process.memoryUsage();
    console.log(JSON.stringify({ heap: after.heapUsed - before.heapUsed, entries: cache.size }));
  `, '--expose-gc');
  const { heap, entries } = JSON.parse(stdout);
  assert.equal(entries, 1_000_000);
  assert.ok(heap < 20e6, `the heap grew by ${heap} bytes`);
});

test('a wait that was aborted does not keep the process alive', async () => {
  const { code, stdout } = await run(`
    const cache = new Cache({ maxBytes: '8MiB', leaseTime: 600000 });
    cache.fetch('k', () => new Promise(() => {}));
    const controller = new AbortController();
    cache.fetch('k', () => 1, { signal: controller.signal }).catch(() => console.log('aborted'));
    controller.abort();
  `);
  assert.deepEqual({ code, stdout }, { code: 0, stdout: 'aborted' });
});
