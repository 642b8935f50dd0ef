// Pools, pressure, filters, metrics.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Cache, CuckooFilter, Pool, getInclude, getLibraryDir, metricsText } from 'hypercache';

test('a pool', () => {
  const pool = new Pool({ maxBytes: '8MiB', maxBytesEver: '16MiB', pinLimit: '1MiB', noHugePages: true, zeroOnFree: true });
  assert.equal(pool.pressure, 'none');
  assert.equal(pool.stats().limitBytes, 8 << 20);
  assert.equal(pool.resize('16MiB'), true);
  assert.throws(() => pool.resize('17MiB'), { code: 'HC_ERR_INVALID' });
  const cache = new Cache({ pool });
  for (let i = 0; i < 50_000; i++) cache.set(i, 'x'.repeat(200));
  const before = pool.stats().usedBytes;
  assert.ok(pool.trim('4MiB') > 0);
  assert.ok(pool.stats().usedBytes < before);
  pool.trim();
  pool.validate();
  assert.throws(() => pool.setThresholds({ elevated: 90, high: 50 }), { code: 'HC_ERR_INVALID' });
  assert.throws(() => new Pool({ maxBytes: '8MiB', limit: 5 }), /no option limit/);
  assert.throws(() => new Pool({ name: 'nowhere' }), { code: 'HC_NOT_FOUND' });
  cache.close();
  pool.close();
  assert.throws(() => pool.stats(), { code: 'HC_ERR_CLOSED' });
});

test('pools of one name are one pool', () => {
  const pool = new Pool({ name: 'shared', maxBytes: '8MiB' });
  const same = new Pool({ name: 'shared' });
  const cache = new Cache({ pool, name: 'c' });
  cache.set('k', 1);
  const again = new Cache({ pool: same, name: 'c' });
  assert.equal(again.get('k'), 1);
  assert.equal(same.stats().stores, 1);
  for (const open of [cache, again, pool, same]) open.close();
});

test('pressure is told of', async () => {
  // A listener does not keep the process alive, so something else has to.
  const alive = setInterval(() => {}, 1_000);
  const pool = new Pool({ maxBytes: '8MiB', pressureOfUsed: true, elevated: 50, high: 80, critical: 95 });
  const cache = new Cache({ pool });
  const told = once(pool, 'pressure');
  for (let i = 0; i < 100_000; i++) cache.set(i, 'x'.repeat(200));
  const [event] = await told;
  assert.ok(['elevated', 'high', 'critical'].includes(event.level));
  assert.equal(event.limitBytes, 8 << 20);
  assert.ok(event.usedBytes > 0 && event.usedBytes <= event.limitBytes);
  assert.notEqual(pool.pressure, 'none');
  const calm = new Promise((resolve) => {
    pool.on('pressure', ({ level }) => level === 'none' && resolve());
  });
  cache.clear();
  pool.trim();
  await calm;
  assert.equal(pool.pressure, 'none');
  cache.close();
  pool.close();
  clearInterval(alive);
});

test('the filter never forgets a key', () => {
  const filter = new CuckooFilter({ capacity: 10_000, fpr: 0.001, hashSeed: 5 });
  for (let i = 0; i < 20_000; i++) filter.add(`k${i}`);
  for (let i = 0; i < 20_000; i++) assert.ok(filter.has(`k${i}`));
  let wrong = 0;
  for (let i = 0; i < 20_000; i++) wrong += Number(filter.has(`n${i}`));
  assert.ok(wrong < 100, `${wrong} of 20,000`);
  for (let i = 0; i < 10_000; i++) assert.equal(filter.delete(`k${i}`), true);
  assert.equal(filter.stats().keys, 10_000);
  assert.equal(filter.add(7).add(Buffer.from('b')).has(7), true);
  filter.validate();
  filter.clear();
  assert.equal(filter.has('k19999'), false);
  filter.close();
  filter.close();
  assert.throws(() => filter.has('k'), { code: 'HC_ERR_CLOSED' });
  assert.throws(() => new CuckooFilter({}), /capacity/);
  assert.throws(() => new CuckooFilter({ capacity: 10, fpr: 0.5 }), /fpr/);
});

test('many keys of a filter at once', () => {
  const filter = new CuckooFilter({ capacity: 10_000, fpr: 1e-6, hashSeed: 5 });
  const keys = Array.from({ length: 300 }, (_, i) => [`k${i}`, i, ['k', i], Buffer.from(`b${i}`), 2n ** 70n + BigInt(i)][i % 5]);
  for (const count of [0, 1, 63, 64, 65, 300]) {
    filter.clear();
    assert.equal(filter.addMany(keys.slice(0, count)), filter);
    assert.equal(filter.stats().keys, count);
    assert.deepEqual(filter.hasMany(new Set(keys)), keys.map((_, i) => i < count));
    assert.deepEqual(keys.map((key) => filter.has(key)), filter.hasMany(keys));
  }
  for (const name of [(i) => `text ${i}`, (i) => `ü${i}`, (i) => `${i}`.padEnd(900)]) {
    const texts = Array.from({ length: 100 }, (_, i) => name(i));
    filter.clear();
    filter.addMany(texts.slice(0, 50));
    assert.deepEqual(filter.hasMany(texts), texts.map((_, i) => i < 50));
  }
  for (const call of ['addMany', 'hasMany']) {
    assert.throws(() => filter[call](['a', {}]), TypeError);
    assert.throws(() => filter[call]('ab'), TypeError);
  }
  filter.close();
  assert.throws(() => filter.hasMany(['a']), { code: 'HC_ERR_CLOSED' });
  assert.throws(() => filter.addMany(['a']), { code: 'HC_ERR_CLOSED' });
});

test('the filter is saved and loaded', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'hypercache-'));
  const file = path.join(folder, 'keys.filter');
  try {
    const pool = new Pool({ maxBytes: '8MiB' });
    const filter = new CuckooFilter({ capacity: 1_000, pool });
    for (let i = 0; i < 1_000; i++) filter.add(i);
    await filter.save(file);
    await assert.rejects(filter.save(path.join(folder, 'none', 'x')), { code: 'HC_ERR_IO' });
    const loaded = await CuckooFilter.load(file, { pool });
    assert.ok(loaded instanceof CuckooFilter);
    for (let i = 0; i < 1_000; i++) assert.ok(loaded.has(i));
    assert.equal(loaded.stats().keys, 1_000);
    await assert.rejects(CuckooFilter.load(file, { capacity: 5 }), /capacity/);
    await writeFile(file, 'no filter');
    await assert.rejects(CuckooFilter.load(file), { name: 'HyperCacheError', code: 'HC_ERR_CORRUPT' });
    await assert.rejects(CuckooFilter.load(5), TypeError);
    for (const open of [filter, loaded, pool]) open.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('metrics', () => {
  using(new Cache({ name: 'measured', maxBytes: '8MiB' }), (cache) => {
    cache.set('k', 1);
    const text = metricsText();
    assert.match(text, /^# (HELP|TYPE) /m);
    assert.match(text, /measured/);
  });
});

test('what addons link with', async () => {
  const { access } = await import('node:fs/promises');
  await access(path.join(getInclude(), 'hypercache.h'));
  await access(path.join(getLibraryDir(), 'libhypercache.so.0'));
});

function using(resource, body) {
  const close = (result) => {
    resource.close();
    return result;
  };
  const result = body(resource);
  return result instanceof Promise ? result.finally(close) : close(result);
}

test('a pool that is closed tells of no pressure', async () => {
  const pool = new Pool({ maxBytes: '8MiB', pressureOfUsed: true, elevated: 20, high: 30, critical: 40 });
  const cache = new Cache({ pool });
  let told = 0;
  pool.on('pressure', () => { told += 1; });
  for (let i = 0; i < 50_000; i++) cache.set(i, 'x'.repeat(200));
  // The library's own thread has told by now; the event loop has not come to it.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  cache.close();
  pool.close();
  await new Promise((resolve) => { setTimeout(resolve, 50); });
  assert.equal(told, 0);
});
