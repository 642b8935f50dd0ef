// Read-through: one load for all who ask, and what comes of it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Cache, CuckooFilter, RawKey } from 'hypercache';

const entry = createRequire(import.meta.url).resolve('hypercache');
const open = (options) => new Cache({ maxBytes: '16MiB', ...options });
const times = (count, call) => Promise.all(Array.from({ length: count }, call));

/** A loader that counts its calls and takes its time. */
function counted(value, ms = 20) {
  const loader = async (key) => {
    loader.calls += 1;
    await sleep(ms);
    return typeof value === 'function' ? value(key) : value;
  };
  loader.calls = 0;
  return loader;
}

test('a thousand fetches at once load once, and later ones not at all', async () => {
  const cache = open();
  const loader = counted({ name: 'Ada' });
  const values = await times(1_000, () => cache.fetch('k', loader));
  assert.equal(loader.calls, 1);
  for (const value of values) assert.deepEqual(value, { name: 'Ada' });
  assert.deepEqual(await cache.fetch('k', loader), { name: 'Ada' });
  assert.equal(loader.calls, 1);
  cache.validate();
  cache.close();
});

test('a value that fits nowhere is loaded once for all who wait in a thread, and each has its own', async () => {
  const values = [Buffer.alloc(3 << 20, 7), { text: 'x'.repeat(3 << 20) }, 'x'.repeat(3 << 20)];
  for (const value of values) {
    const cache = open({ maxBytes: '4MiB' });
    const loader = counted(() => value);
    const given = await times(10, () => cache.fetch('k', loader));
    assert.equal(loader.calls, 1);
    for (const one of given) assert.deepEqual(one, value);
    if (typeof value === 'object') assert.equal(new Set(given).size, given.length);
    assert.equal(cache.has('k'), false);
    await cache.fetch('k', loader);
    assert.equal(loader.calls, 2);
    cache.close();
  }
});

test('of those who wait in another thread for a value that fits nowhere, one loads it', async () => {
  const name = 'fits nowhere';
  const cache = open({ name, maxBytes: '4MiB' });
  const worker = new Worker(`
    const { parentPort, workerData } = require('node:worker_threads');
    const { Cache } = require(workerData);
    const cache = new Cache({ name: 'fits nowhere' });
    let calls = 0;
    const gone = new AbortController();
    const loader = (key, { signal }) => new Promise((resolve, reject) => {
      calls += 1;
      signal?.addEventListener('abort', () => reject(signal.reason));
      if (signal !== gone.signal) setTimeout(() => resolve({ text: 'y'.repeat(3 << 20) }), 20);
      else setTimeout(() => gone.abort(new Error('has gone')), 20);
    });
    // The first of them, who is to load, gives up: one of the others then does.
    const signals = [gone.signal, ...[1, 2, 3].map(() => new AbortController().signal)];
    const all = signals.map((signal) => cache.fetch('k', loader, { signal }));
    parentPort.postMessage('waits');
    Promise.allSettled(all).then((results) => {
      const said = results.map(({ value, reason }) => reason?.message ?? value.text.length);
      parentPort.postMessage({ calls, said });
      cache.close();
    });
  `, { eval: true, workerData: entry });
  const ended = once(worker, 'exit');
  const loaded = cache.fetch('k', async () => {
    await once(worker, 'message');
    return { text: 'x'.repeat(3 << 20) };
  });
  assert.equal((await loaded).text.length, 3 << 20);
  const [{ calls, said }] = await once(worker, 'message');
  assert.deepEqual(said, ['has gone', 3 << 20, 3 << 20, 3 << 20]);
  assert.equal(calls, 2);
  await ended;
  cache.close();
});

test('a thousand fetches over four worker threads load once', async () => {
  // What fails is not remembered: the load has to last until all have asked for it.
  for (const fails of [false, true]) {
    const name = `fetch in threads ${fails}`;
    const cache = open({ name });
    const [gate, calls] = [new SharedArrayBuffer(4), new SharedArrayBuffer(4)];
    const program = new URL('programs/fetcher.mjs', import.meta.url);
    const workerData = { name, times: 250, gate, calls, ms: fails ? 3_000 : 300, fails };
    const workers = Array.from({ length: 4 }, () => new Worker(program, { workerData }));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const results = workers.map((worker) => once(worker, 'message'));
    const ends = workers.map((worker) => once(worker, 'exit'));
    Atomics.store(new Int32Array(gate), 0, 1);
    Atomics.notify(new Int32Array(gate), 0);
    const said = (await Promise.all(results)).map(([result]) => result);
    await Promise.all(ends);
    assert.equal(new Int32Array(calls)[0], 1);
    assert.equal(said.reduce((sum, { count }) => sum + count, 0), 1_000);
    const all = new Set(said.flatMap((result) => result.said));
    if (fails) {
      assert.deepEqual(all, new Set(['the source is down', 'HC_LOAD_FAILED']));
      assert.equal(cache.has('one'), false);
    } else {
      assert.deepEqual(all, new Set([JSON.stringify({ key: 'one', text: 'loaded', bytes: Buffer.alloc(100, 7) })]));
    }
    cache.validate();
    cache.close();
  }
});

test('keys and values of every kind', async () => {
  const cache = open();
  for (const key of ['k', 7, 7n ** 40n, Buffer.from('b'), ['a', 1]]) {
    for (const value of ['text', 7, 2n ** 60n, 0.5, true, false, null, Buffer.from('b'), Buffer.alloc(100_000), { a: 1 }]) {
      cache.clear();
      const loader = counted(value, 1);
      assert.deepEqual(await times(3, () => cache.fetch(key, loader)), [value, value, value]);
      assert.deepEqual(await cache.fetch(key, loader), value);
      assert.equal(loader.calls, 1);
    }
  }
  cache.close();
});

test('a load that fails fails for all who wait, and is tried again by the next', async () => {
  const cache = open();
  const loader = counted(() => {
    throw new Error('no such host');
  });
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => cache.fetch('k', loader)));
  assert.equal(loader.calls, 1);
  for (const { reason } of results) assert.equal(reason.message, 'no such host');
  await assert.rejects(cache.fetch('k', loader), /no such host/);
  assert.equal(loader.calls, 2);
  await assert.rejects(cache.fetch('k', () => () => 1), /could not be cloned/);
  await assert.rejects(cache.fetch('k', 'no function'), TypeError);
  await assert.rejects(cache.fetch(undefined, loader), TypeError);
  await assert.rejects(cache.fetch('k', () => 1, { ttl: 'long' }), TypeError);
  assert.equal(await cache.fetch('k', () => 'at once'), 'at once');
  cache.close();
});

test('what is not there is remembered for a while', async () => {
  const cache = open({ absentTtl: 600_000 });
  const loader = counted(undefined, 5);
  assert.deepEqual(await times(5, () => cache.fetch('k', loader)), Array(5).fill(undefined));
  assert.equal(await cache.fetch('k', loader), undefined);
  assert.equal(loader.calls, 1);
  assert.equal(cache.has('k'), false);
  await cache.fetch('short', loader, { absentTtl: 20 });
  await sleep(60);
  await cache.fetch('short', loader, { absentTtl: 20 });
  assert.equal(loader.calls, 3);
  cache.set('k', 'now it is');
  assert.equal(await cache.fetch('k', loader), 'now it is');
  cache.close();
});

test('a time of 0 remembers nothing, and parts of a millisecond round up', async () => {
  const never = open({ absentTtl: 0 });
  const loader = counted(undefined, 1);
  for (let i = 0; i < 2; i += 1) {
    await never.fetch('k', loader);
    await sleep(20);
  }
  assert.equal(loader.calls, 2);
  const long = open({ absentTtl: 600_000 });
  for (const absentTtl of [0, 0.5]) {
    const before = loader.calls;
    for (let i = 0; i < 2; i += 1) {
      await long.fetch('k', loader, { absentTtl });
      await sleep(20);
    }
    assert.equal(loader.calls, before + 2);
  }
  await long.fetch('k', loader, { absentTtl: Infinity });
  const before = loader.calls;
  assert.equal(await long.fetch('k', loader), undefined);
  assert.equal(loader.calls, before);
  never.close();
  long.close();
});

test('who waits in one thread has a value of its own', async () => {
  // Too long to be stored, and passed on to those who wait.
  const text = 'x'.repeat(2_000);
  for (const made of [() => ({ list: [text] }), () => Buffer.from(text)]) {
    const cache = open({ maxValueBytes: 1_000 });
    const given = await times(5, () => cache.fetch('k', counted(made)));
    assert.equal(cache.has('k'), false);
    assert.equal(new Set(given).size, 5);
    given[0].changed = true;
    if (Buffer.isBuffer(given[1])) given[1].fill(0);
    for (const one of given.slice(2)) assert.deepEqual(one, made());
    cache.close();
  }
});

test('a write during the load stands', async () => {
  const cache = open();
  const loading = cache.fetch('k', counted('loaded', 30));
  cache.set('k', 'written');
  await loading;
  assert.equal(cache.get('k'), 'written');
  const again = cache.fetch('d', counted('loaded', 30));
  cache.delete('d');
  await again;
  assert.equal(cache.get('d'), undefined);
  const before = cache.fetch('c', counted('loaded', 30));
  cache.clear();
  await before;
  assert.equal(cache.get('c'), undefined);
  cache.close();
});

test('the old value serves while one caller reloads', async () => {
  const cache = open({ noEarlyRefresh: true });
  const options = { ttl: 1, staleWhileRevalidate: 600_000 };
  let calls = 0;
  let release;
  const held = () => {
    calls += 1;
    return new Promise((resolve) => {
      release = resolve;
    });
  };
  assert.equal(await cache.fetch('k', () => 'value 1', options), 'value 1');
  await sleep(20);
  // The loader is held back: who waited for it would wait for ever.
  assert.deepEqual(await times(20, () => cache.fetch('k', held, options)), Array(20).fill('value 1'));
  assert.equal(calls, 1);
  release('value 2');
  while (cache.peek('k') !== 'value 2') await sleep(1);
  await sleep(20);
  // A write during a reload is newer than what is loaded.
  assert.equal(await cache.fetch('k', held, options), 'value 2');
  assert.equal(calls, 2);
  cache.set('k', 'written', { ttl: 600_000, softTtl: 1 });
  release('value 3');
  await sleep(20);
  assert.equal(cache.peek('k'), 'written');
  // A reload that fails leaves the old value, and is not tried again at once.
  let failures = 0;
  const failing = () => {
    failures += 1;
    throw new Error('down');
  };
  for (let i = 0; i < 20; i++) assert.equal(await cache.fetch('k', failing, options), 'written');
  assert.ok(failures >= 1 && failures < 20, `${failures} of 20`);
  assert.deepEqual([...cache.keys()], ['k']);
  cache.close();
});

test('times to live of what is loaded', async () => {
  const cache = open();
  const loader = counted('x', 1);
  await cache.fetch('k', loader, { ttl: 500_000 });
  assert.ok(cache.remainingTtl('k') <= 500_000);
  await cache.fetch('soft', loader, { ttl: 500_000, staleWhileRevalidate: 500_000 });
  assert.ok(cache.remainingTtl('soft') > 500_000);
  assert.equal(await cache.fetch('gone', loader, { ttl: 0 }), 'x');
  await sleep(20);
  assert.equal(cache.has('gone'), false);
  for (const wrong of [{ staleWhileRevalidate: 5 }, { ttl: 5, staleWhileRevalidate: -1 }, { ttl: Infinity, staleWhileRevalidate: 5 }]) {
    await assert.rejects(cache.fetch('w', loader, wrong), RangeError);
  }
  cache.close();
});

test('the keys of the source', async () => {
  const cache = open();
  const filter = new CuckooFilter({ capacity: 1_000 });
  filter.add('there');
  assert.equal(cache.mayExist('not there'), true);
  cache.setKnownKeys(filter);
  const loader = counted('loaded', 1);
  assert.equal(await cache.fetch('there', loader), 'loaded');
  assert.equal(await cache.fetch('not there', loader), undefined);
  assert.deepEqual([loader.calls, cache.mayExist('there'), cache.mayExist('not there')], [1, true, false]);
  assert.ok(cache.stats().filterSkips >= 1);
  cache.setKnownKeys(undefined);
  assert.equal(await cache.fetch('not there', loader), 'loaded');
  assert.throws(() => cache.setKnownKeys({}), TypeError);
  filter.close();
  cache.close();
});

test('soft and idle times of entries and of the cache', async () => {
  const cache = open({ softTtl: 20, idleTtl: 60_000, staleIfError: 60_000, noEarlyRefresh: true });
  cache.set('k', 'old');
  await sleep(40);
  assert.equal(cache.get('k'), 'old');
  assert.equal(await cache.fetch('k', counted('new', 1)), 'new');
  cache.set('idle', 1, { idleTtl: 20 });
  await sleep(1_100);
  assert.equal(cache.has('idle'), false);
  for (const wrong of [{ softTtl: -1 }, { idleTtl: 2 ** 32 }]) assert.throws(() => cache.set('k', 1, wrong), RangeError);
  cache.close();
});

test('a signal ends the wait, and another one loads', async () => {
  const cache = open();
  const gaveUp = new AbortController();
  let told = false;
  const first = cache.fetch('k', (_, { signal }) => new Promise(() => {
    signal.addEventListener('abort', () => (told = true));
  }), { signal: gaveUp.signal });
  const second = cache.fetch('k', counted('loaded by the second'));
  const third = new AbortController();
  const waiting = cache.fetch('k', counted('never'), { signal: third.signal });
  third.abort(new Error('third gave up'));
  await assert.rejects(waiting, /third gave up/);
  gaveUp.abort(new Error('first gave up'));
  await assert.rejects(first, /first gave up/);
  assert.equal(told, true);
  assert.equal(await second, 'loaded by the second');
  await assert.rejects(cache.fetch('k', counted('x'), { signal: AbortSignal.abort() }), { name: 'AbortError' });
  cache.close();
});

test('who loads too long loses the lease', async () => {
  const cache = open({ leaseTime: 60 });
  const slow = counted('slow', 400);
  const first = cache.fetch('k', slow);
  const quick = counted('quick', 1);
  assert.equal(await cache.fetch('k', quick), 'quick');
  assert.equal(await first, 'slow');
  assert.equal(cache.get('k'), 'quick');
  cache.close();
});

test('a worker that dies while it loads leaves the load to another', async () => {
  const cache = open({ name: 'dies', leaseTime: 60_000 });
  const dying = new Worker(`
    const { Cache } = require(${JSON.stringify(entry)});
    const { parentPort } = require('node:worker_threads');
    const cache = new Cache({ name: 'dies' });
    cache.fetch('k', () => { parentPort.postMessage('loading'); return new Promise(() => {}); });
    cache.fetch('k', () => 'never');
    setInterval(() => {}, 1000);
  `, { eval: true });
  await once(dying, 'message');
  const value = cache.fetch('k', counted('loaded here'));
  await sleep(20);
  assert.equal(await Promise.race([value, sleep(20, 'waits')]), 'waits');
  await dying.terminate();
  assert.equal(await value, 'loaded here');
  cache.close();
});

test('closing ends the waits', async () => {
  const cache = open({ name: 'closed while waiting' });
  const other = open({ name: 'closed while waiting' });
  const loading = other.fetch('k', counted('loaded', 100));
  const waiting = cache.fetch('k', counted('x'));
  setTimeout(() => cache.close(), 20);
  await assert.rejects(waiting, { code: 'HC_ERR_CLOSED' });
  assert.equal(await loading, 'loaded');
  await assert.rejects(cache.fetch('k', counted('x')), { code: 'HC_ERR_CLOSED' });
  other.close();
  const lone = open();
  const late = lone.fetch('k', counted('late'));
  lone.close();
  assert.equal(await late, 'late');
});

test('functions with their results in the cache', async () => {
  const cache = open();
  let calls = 0;
  async function user(id, ...rest) {
    calls += 1;
    return { id, rest, self: this?.self };
  }
  const cached = cache.wrap(user, { ttl: 60_000 });
  assert.deepEqual(await times(3, () => cached(7)), Array(3).fill({ id: 7, rest: [], self: undefined }));
  assert.deepEqual(await cached(7, 'x'), { id: 7, rest: ['x'], self: undefined });
  assert.equal(calls, 2);
  assert.ok(cache.remainingTtl(['user', 7]) <= 60_000);
  const keyed = cache.wrap(user, { key: (id) => `user:${id}` });
  assert.deepEqual(await keyed.call({ self: 5 }, 8), { id: 8, rest: [], self: 5 });
  assert.equal(cache.has('user:8'), true);
  await cache.wrap((a) => a, { name: 'named' })(1);
  assert.equal(cache.has(['named', 1]), true);
  await assert.rejects(cached({}), TypeError);
  assert.throws(() => cache.wrap(5), TypeError);
  cache.close();
});

test('waiting keeps no loop alive longer than it lasts', async () => {
  const worker = new Worker(`
    const { Cache } = require(${JSON.stringify(entry)});
    const cache = new Cache({ name: 'quiet', maxBytes: '8MiB' });
    const slow = () => new Promise((resolve) => setTimeout(resolve, 30, 'x'));
    Promise.all([cache.fetch('k', slow), cache.fetch('k', slow)]);
  `, { eval: true });
  const [code] = await once(worker, 'exit');
  assert.equal(code, 0);
});

test('a key that changes while its fetch waits is the key that it was', async () => {
  const cache = open({ leaseTime: 60 });
  for (const [key, change] of [[['a', 1], (k) => { k[1] = 2; }], [Buffer.from('y1'), (k) => { k[1] = 0x32; }]]) {
    const before = structuredClone(key);
    cache.fetch(key, () => new Promise(() => {}));
    const loaded = cache.fetch(key, (k) => ({ k }));
    change(key);
    assert.deepEqual([...(await loaded).k], [...before]);
    assert.equal(cache.has(key), false);
    assert.equal(cache.has(Array.isArray(key) ? before : Buffer.from(before)), true);
  }
});

test('who waits for a key of any kind learns why its load failed', async () => {
  const cache = open();
  const fails = async () => {
    await sleep(20);
    throw new Error('the source is down');
  };
  const keys = [() => 'k', () => 7, () => 7n, () => ['a', 1], () => [['a'], '1:a'], () => Buffer.from('k'), () => new RawKey(Buffer.from([255]))];
  for (const key of keys) {
    const [one, two] = await Promise.allSettled([cache.fetch(key(), fails), cache.fetch(key(), fails)]);
    assert.match(one.reason.message, /source is down/);
    assert.equal(two.reason, one.reason);
  }
});

test('functions without a name do not share keys', async () => {
  const cache = open();
  assert.throws(() => cache.wrap(async () => 1), /no name/);
  const [one, two] = ['one', 'two'].map((name) => cache.wrap(async (id) => name + id, { name }));
  assert.deepEqual([await one(7), await two(7)], ['one7', 'two7']);
  assert.equal(await cache.wrap(async () => 3, { key: (id) => ['three', id] })(7), 3);
});

test('a signal that the loader itself aborts', async () => {
  const cache = open();
  const controller = new AbortController();
  const loader = () => {
    controller.abort(new Error('gone'));
    return new Promise(() => {});
  };
  await assert.rejects(cache.fetch('k', loader, { signal: controller.signal }), /gone/);
  assert.equal(await cache.fetch('k', () => 1), 1);
});

test('an old value that cannot be decoded leaves the lease to another', async () => {
  let fails = false;
  const codec = {
    encode: (value) => Buffer.from(JSON.stringify(value)),
    decode: (bytes) => {
      if (fails) throw new Error('cannot decode');
      return JSON.parse(bytes);
    },
  };
  const cache = open({ codec, noEarlyRefresh: true });
  const options = { ttl: 1, staleWhileRevalidate: 600_000 };
  await cache.fetch('k', () => ({ a: 1 }), options);
  await sleep(20);
  fails = true;
  await assert.rejects(cache.fetch('k', () => ({ a: 2 }), options), /cannot decode/);
  fails = false;
  const loader = counted({ a: 3 }, 0);
  assert.deepEqual(await cache.fetch('k', loader, options), { a: 1 });
  assert.equal(loader.calls, 1);
});

test("the cache's softTtl: the old value serves while one caller reloads", async () => {
  const cache = open({ softTtl: 10, ttl: 600_000, noEarlyRefresh: true });
  await cache.fetch('k', () => 'old');
  await sleep(30);
  let finish;
  const loading = new Promise((resolve) => {
    finish = resolve;
  });
  let calls = 0;
  const loader = () => {
    calls += 1;
    return loading;
  };
  const [first, ...others] = [1, 2, 3].map(() => cache.fetch('k', loader));
  assert.deepEqual(await Promise.all(others), ['old', 'old']);
  assert.equal(calls, 1);
  finish('new');
  assert.equal(await first, 'new');
});

test('with softTtl and staleIfError, the old value serves where loading fails', async () => {
  const cache = open({ softTtl: 10, ttl: 40, staleIfError: 600_000, noEarlyRefresh: true });
  assert.equal(cache.config.staleIfError, 600_000);
  await cache.fetch('k', () => 'old', { ttl: 600_000 });
  await sleep(30);
  const fails = () => cache.fetch('k', () => Promise.reject(new Error('down')));
  for (let i = 0; i < 3; i++) assert.equal(await fails(), 'old');
});
