// The cache's own behaviour: options, conditions, times to live, walks, ends.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { Cache, HyperCacheError, Pool, versions } from 'hypercache';

const open = (options) => new Cache({ maxBytes: '16MiB', ...options });

test('options', () => {
  const cache = open({
    policy: 'lru', policyOptions: '', ttl: 60_000, max: 1_000, maxValueBytes: '1KiB', shards: 1, hashSeed: 7n,
    ttlJitter: 10,
  });
  assert.deepEqual(
    { ...cache.config },
    {
      maxBytes: 0, minBytes: 0, maxValueBytes: 1_024, maxEntries: 1_000, shards: 1, policy: 'lru', ttl: 60_000,
      softTtl: 0, staleIfError: 0,
    },
  );
  assert.equal(cache.pool.stats().limitBytes, 16 << 20);
  assert.throws(() => cache.set('k', 'x'.repeat(1_025)), { code: 'HC_ERR_TOO_LARGE' });
  for (let i = 0; i < 5_000; i++) cache.set(`k${i}`, i);
  assert.ok(cache.size <= 1_000);
  cache.close();
});

test('options that are wrong are named', () => {
  const wrong = [
    [undefined, /options/], [{}, /maxBytes/], [{ maxBytes: 1 << 20, maxbytes: 1 }, /maxbytes.*maxBytes/],
    [{ maxBytes: '64M' }, /"64M".*64MiB/], [{ maxBytes: -1 }, /maxBytes/], [{ maxBytes: 1.5 }, /maxBytes/],
    [{ maxBytes: 1_000 }, /maxBytes is 1000; 1048576 to/], [{ maxBytes: true }, /maxBytes/], [{ maxBytes: '0%' }, /share/],
    [{ maxBytes: 1 << 20, policy: 'LRU' }, /"LRU".*lru/], [{ maxBytes: 1 << 20, policy: 5 }, /policy/],
    [{ maxBytes: 1 << 20, policyOptions: 'size=1' }, /size/], [{ maxBytes: 1 << 20, shards: 3 }, /shards/],
    [{ maxBytes: 1 << 20, ttl: '5s' }, /ttl/], [{ maxBytes: 1 << 20, ttl: NaN }, /NaN/],
    [{ maxBytes: 1 << 20, ttl: 'keep' }, /ttl/], [{ maxBytes: 1 << 20, name: 'a\0b' }, /NUL/],
    [{ maxBytes: 1 << 20, name: '' }, /name/], [{ maxBytes: 1 << 20, max: 1.5 }, /maxEntries/],
    [{ maxBytes: 1 << 20, ttlJitter: 101 }, /ttlJitter/], [{ pool: {} }, /Pool/], [{ name: 'nowhere' }, /nowhere.*maxBytes/],
    [{ maxBytes: 1 << 20, filterFpr: 2 }, /filterFpr is 2/], [{ maxBytes: 1 << 20, filterFpr: '1%' }, /filterFpr/],
  ];
  for (const [options, message] of wrong) assert.throws(() => new Cache(options), message, String(message));
});

test('a filter before the store changes no answer', () => {
  const cache = open({ filterFpr: 0.001 });
  for (let i = 0; i < 1_000; i++) cache.set(i, 'x');
  for (let i = 0; i < 500; i++) cache.delete(i);
  for (let i = 0; i < 1_000; i++) assert.equal(cache.get(i), i < 500 ? undefined : 'x');
  for (let i = 0; i < 1_000; i++) assert.equal(cache.get(`none ${i}`), undefined);
  assert.equal(cache.stats().misses, 1_500);
  assert.equal(cache.stats().hits, 500);
  cache.validate();
  cache.close();
});

test('25% of the memory', () => {
  const cache = new Cache({ maxBytes: '0.1%' });
  const { limitBytes } = cache.pool.stats();
  assert.ok(limitBytes >= 1 << 20, `${limitBytes}`);
  cache.close();
});

test('add, replace, take, and conditions on versions', () => {
  const cache = open();
  assert.equal(cache.replace('k', 1), false);
  assert.equal(cache.add('k', 1), true);
  assert.equal(cache.add('k', 2), false);
  assert.equal(cache.replace('k', { three: 3 }), true);
  const { version } = cache.getEntry('k');
  assert.equal(cache.set('k', 4, { ifVersion: version }), true);
  assert.equal(cache.set('k', 5, { ifVersion: version }), false);
  assert.equal(cache.delete('k', { ifVersion: version }), false);
  assert.equal(cache.get('k'), 4);
  assert.equal(cache.delete('k', { ifVersion: cache.getEntry('k', { peek: true }).version }), true);
  cache.set('t', 'taken');
  assert.equal(cache.take('t'), 'taken');
  assert.equal(cache.take('t'), undefined);
  assert.equal(cache.getEntry('t'), undefined);
  cache.set('u', 1);
  assert.equal(cache.set('u', undefined), true);
  assert.equal(cache.has('u'), false);
  assert.throws(() => cache.add('u', undefined), TypeError);
  cache.close();
});

test('times to live', async () => {
  const cache = open({ ttl: 60_000 });
  cache.set('default', 1);
  cache.set('never', 1, { ttl: Infinity });
  cache.set('part', 1, { ttl: 99_999.5 });
  cache.set('short', 1, { ttl: 5 });
  cache.set('gone', 1);
  assert.equal(cache.set('gone', 2, { ttl: 0 }), true);
  assert.equal(cache.has('gone'), false);
  assert.ok(cache.remainingTtl('default') <= 60_000 && cache.remainingTtl('default') > 50_000);
  assert.equal(cache.remainingTtl('never'), Infinity);
  assert.ok(cache.remainingTtl('part') > 90_000 && cache.remainingTtl('part') <= 100_000);
  assert.equal(cache.remainingTtl('none'), undefined);
  assert.equal(cache.getRemainingTTL('none'), 0);
  cache.set('part', 2, { ttl: 'keep' });
  assert.ok(cache.remainingTtl('part') > 90_000);
  await sleep(30);
  assert.equal(cache.get('short'), undefined);
  assert.equal(cache.touch('default', 200_000), true);
  assert.ok(cache.remainingTtl('default') > 150_000);
  assert.equal(cache.touch('default'), true);
  assert.ok(cache.remainingTtl('default') <= 60_000);
  assert.equal(cache.touch('default', 0), true);
  assert.equal(cache.has('default'), false);
  assert.equal(cache.touch('none', 5), false);
  for (const mode of ['add', 'replace', 'set']) {
    cache.set('m', 1);
    const there = mode === 'add';
    assert.equal(cache[mode]('m', 2, { ttl: -1 }), !there, mode);
    assert.equal(cache.has('m'), there, mode);
  }
  assert.equal(cache.setMany([['m', 3]], { ttl: 0 }), 1);
  assert.equal(cache.has('m'), false);
  assert.equal(cache.setMany([['m', 3], ['n', {}]], { ttl: 90_000 }), 2);
  for (const key of ['m', 'n']) assert.ok(cache.remainingTtl(key) > 80_000);
  for (const ttl of [NaN, '5', null, {}]) assert.throws(() => cache.set('k', 1, { ttl }), /ttl/);
  cache.close();
});

test('counters', () => {
  const cache = open();
  assert.equal(cache.incr('n'), 1);
  assert.equal(cache.incr('n', 41), 42);
  assert.equal(cache.incr('n', -2n), 40);
  assert.equal(cache.incr('m', 1, { initial: 100, ttl: 90_000 }), 100);
  assert.ok(cache.remainingTtl('m') > 80_000);
  assert.equal(cache.incr('m', 1, { initial: 100 }), 101);
  assert.equal(cache.get('n'), 40);
  assert.equal(cache.incr('big', 0, { initial: 2n ** 63n - 1n }), 2n ** 63n - 1n);
  assert.throws(() => cache.incr('big'), { name: 'RangeError', code: 'HC_OVERFLOW' });
  cache.set('text', 'x');
  assert.throws(() => cache.incr('text'), { name: 'TypeError', code: 'HC_WRONG_TYPE' });
  for (const delta of [1.5, NaN, 2n ** 63n]) assert.throws(() => cache.incr('n', delta), RangeError);
  for (const delta of ['1', null, {}]) assert.throws(() => cache.incr('n', delta), TypeError);
  assert.throws(() => cache.incr('n', 1, { ttl: 0 }), RangeError);
  cache.close();
});

test('reading into memory of ones own', () => {
  const cache = open();
  const bytes = Buffer.from('0123456789');
  cache.set('k', bytes);
  const target = new Uint8Array(16);
  assert.equal(cache.getInto('k', target), 10);
  assert.equal(cache.getInto('k', target, 6), 10);
  assert.deepEqual(Buffer.from(target), Buffer.from('0123450123456789'));
  assert.equal(cache.getInto('none', target), undefined);
  assert.throws(() => cache.getInto('k', target, 7), { name: 'RangeError', message: /takes 10 bytes.*has 9/ });
  assert.throws(() => cache.getInto('k', new Uint8Array(0)), /takes 10 bytes/);
  for (const offset of [-1, 17, 0.5, NaN]) assert.throws(() => cache.getInto('k', target, offset), RangeError);
  assert.throws(() => cache.getInto('k', target, '0'), TypeError);
  for (const wrong of [undefined, [], 'text', new Uint16Array(8), new DataView(new ArrayBuffer(16))]) {
    assert.throws(() => cache.getInto('k', wrong), TypeError);
  }
  const shared = new Uint8Array(new SharedArrayBuffer(16));
  assert.equal(cache.getInto('k', shared), 10);
  assert.equal(shared[9], 57);
  cache.close();
});

test('text', () => {
  const cache = open();
  cache.set('bytes', Buffer.from('é'));
  assert.equal(cache.getString('bytes'), 'é');
  cache.set('long', Buffer.from('é'.repeat(50_000)));
  assert.equal(cache.getString('long'), 'é'.repeat(50_000));
  cache.set('number', 1);
  assert.throws(() => cache.getString('number'), { name: 'TypeError', code: 'HC_WRONG_TYPE' });
  assert.equal(cache.getString('none'), undefined);
  assert.equal(cache.getBuffer('none'), undefined);
  cache.close();
});

test('batches of any length, of any iterable', () => {
  const cache = open();
  for (const count of [0, 1, 31, 32, 33, 64, 65, 500]) {
    cache.clear();
    const entries = new Map(Array.from({ length: count }, (_, i) => [`k${i}`, i % 3 ? `v${i}` : { i }]));
    assert.equal(cache.setMany(entries), count);
    assert.equal(cache.size, count);
    assert.deepEqual(cache.getMany(entries.keys()), [...entries.values()]);
    assert.deepEqual(new Map(cache), entries);
    assert.equal(cache.deleteMany(new Set(['none', ...entries.keys()])), count);
  }
  const large = ['a', 'b', 'c'].map((key) => [key, Buffer.alloc(200_000, key)]);
  cache.setMany(large);
  assert.deepEqual(cache.getMany(['c', 'b', 'a', 'd']), [...large.map(([, value]) => value).reverse(), undefined]);
  cache.close();
});

test('walks', () => {
  const cache = open();
  const entries = new Map(Array.from({ length: 300 }, (_, i) => [`k${i}`, i]));
  cache.setMany(entries);
  assert.deepEqual(new Set(cache.keys()), new Set(entries.keys()));
  assert.deepEqual(new Set(cache.values()), new Set(entries.values()));
  const seen = new Map();
  cache.forEach(function visit(value, key, whole) {
    assert.equal(whole, cache);
    assert.equal(this, 5);
    seen.set(key, value);
  }, 5);
  assert.deepEqual(seen, entries);
  for (const [key] of cache) {
    cache.delete(key);
    break;
  }
  assert.equal(cache.size, 299);
  const walk = cache.keys();
  walk.next();
  cache.clear();
  assert.ok([...walk].length < 300);
  cache.close();
});

test('statistics', () => {
  const cache = open({ latency: true });
  cache.set('k', 1);
  cache.get('k');
  cache.get('none');
  cache.peek('k');
  cache.has('k');
  const stats = cache.stats();
  assert.equal(stats.entries, 1);
  assert.equal(stats.hits, 1);
  assert.equal(stats.misses, 1);
  assert.equal(stats.inserts, 1);
  assert.ok(Object.values(stats).every((value) => typeof value === 'number'));
  assert.ok(cache.latency('get').count >= 2);
  assert.throws(() => cache.latency('incr'), TypeError);
  assert.equal(open().latency('get'), undefined);
  assert.match(versions().version, /^\d+\.\d+\.\d+$/);
  cache.close();
});

test('the limit holds, and can be changed', () => {
  const cache = open({ maxBytes: '4MiB' });
  for (let i = 0; i < 50_000; i++) cache.set(`k${i}`, 'x'.repeat(200));
  assert.ok(cache.pool.stats().usedBytes <= 4 << 20);
  assert.ok(cache.stats().evicted > 0);
  assert.equal(cache.resize('2MiB'), true);
  assert.ok(cache.pool.stats().usedBytes <= 2 << 20);
  assert.equal(cache.resize(8 << 20), true);
  assert.equal(cache.pool.stats().limitBytes, 8 << 20);
  assert.throws(() => cache.resize('much'), RangeError);
  cache.validate();
  cache.close();
});

test('caches of one name are one cache', () => {
  const first = open({ name: 'one' });
  const second = open({ name: 'one' });
  const third = new Cache({ name: 'one' });
  first.set('k', 'v');
  assert.equal(third.get('k'), 'v');
  second.close();
  assert.equal(third.get('k'), 'v');
  assert.throws(() => new Cache({ name: 'one', maxBytes: '32MiB' }), { name: 'HyperCacheError', code: 'HC_ERR_INVALID' });
  assert.throws(() => open({ name: 'one', policy: 'fifo' }), /policy/);
  first.close();
  third.close();
  assert.throws(() => new Cache({ name: 'one' }), { code: 'HC_NOT_FOUND' });
  const pool = new Pool({ name: 'a pool alone', maxBytes: '8MiB' });
  assert.throws(() => new Cache({ name: 'a pool alone' }), /no cache.*maxBytes/);
  pool.close();
});

test('closing and destroying', () => {
  const cache = open({ name: 'ends' });
  const other = open({ name: 'ends' });
  assert.equal(cache.closed, false);
  cache.set('k', 1);
  cache[Symbol.dispose]();
  cache.close();
  assert.equal(cache.closed, true);
  for (const call of [() => cache.get('k'), () => cache.set('k', 1), () => cache.getMany(['k']), () => cache.size,
    () => cache.stats(), () => [...cache.keys()], () => cache.clear(), () => cache.resize(1 << 20)]) {
    assert.throws(call, { name: 'HyperCacheError', code: 'HC_ERR_CLOSED' });
  }
  assert.equal(other.get('k'), 1);
  const walk = other.keys();
  walk.next();
  other.destroy();
  other.destroy();
  assert.throws(() => other.get('k'), { code: 'HC_ERR_CLOSED' });
  const error = (() => {
    try {
      other.set('k', 1);
    } catch (caught) {
      return caught;
    }
  })();
  assert.ok(error instanceof HyperCacheError && error instanceof Error);
  assert.match(String(error), /^HyperCacheError: the store is closed/);
  other.close();
});

test('a shared pool', () => {
  const pool = new Pool({ maxBytes: '8MiB' });
  const a = new Cache({ pool, name: 'a', maxBytes: '4MiB' });
  const b = new Cache({ pool, name: 'b', minBytes: '1MiB' });
  assert.equal(a.pool, pool);
  for (let i = 0; i < 50_000; i++) a.set(i, 'x'.repeat(200));
  assert.ok(a.stats().usedBytes <= 4 << 20);
  b.set('k', 1);
  assert.equal(a.resize('2MiB'), true);
  assert.ok(a.stats().usedBytes <= 2 << 20);
  pool.close();
  assert.equal(b.get('k'), 1);
  a.close();
  b.close();
  assert.equal(pool.closed, true);
});

test('set of undefined heeds ifVersion', () => {
  const cache = new Cache({ maxBytes: '8MiB' });
  cache.set('k', 1);
  const { version } = cache.getEntry('k');
  assert.equal(cache.set('k', undefined, { ifVersion: version + 1n }), false);
  assert.equal(cache.get('k'), 1);
  assert.equal(cache.set('k', undefined, { ifVersion: version }), true);
  assert.equal(cache.has('k'), false);
  assert.equal(cache.set('k', undefined), true);
});
