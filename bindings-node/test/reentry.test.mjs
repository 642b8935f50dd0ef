// Reading a key may run JavaScript, and what that does to the cache harms nobody.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cache, CuckooFilter, RawKey } from 'hypercache';

const here = path.dirname(fileURLToPath(import.meta.url));

/** Keys that run a function when they are read, in each way that a key can. */
const KEYS = {
  array: (run) => Object.defineProperty([], 0, { enumerable: true, get: () => (run(), 'k') }),
  raw: (run) => Object.defineProperty(new RawKey(Buffer.from('k')), 'bytes', { get: () => (run(), Buffer.from('k')) }),
  proxy: (run) => new Proxy({}, { getPrototypeOf: () => (run(), RawKey.prototype), get: () => Buffer.from('k') }),
};

const CALLS = {
  get: (cache, key) => cache.get(key),
  peek: (cache, key) => cache.peek(key),
  getString: (cache, key) => cache.getString(key),
  getBuffer: (cache, key) => cache.getBuffer(key),
  getInto: (cache, key) => cache.getInto(key, Buffer.alloc(2_000)),
  getEntry: (cache, key) => cache.getEntry(key),
  take: (cache, key) => cache.take(key),
  has: (cache, key) => cache.has(key),
  mayExist: (cache, key) => cache.mayExist(key),
  remainingTtl: (cache, key) => cache.remainingTtl(key),
  set: (cache, key) => cache.set(key, 'x'.repeat(5_000)),
  add: (cache, key) => cache.add(key, 1),
  delete: (cache, key) => cache.delete(key),
  deleteIf: (cache, key) => cache.delete(key, { ifVersion: 1n }),
  incr: (cache, key) => cache.incr(key),
  touch: (cache, key) => cache.touch(key, 5),
  getMany: (cache, key) => cache.getMany([key, 'a']),
  setMany: (cache, key) => cache.setMany([[key, 1], ['a', 2]]),
  deleteMany: (cache, key) => cache.deleteMany([key, 'a']),
};

const CLOSED = { code: 'HC_ERR_CLOSED' };

for (const [kind, make] of Object.entries(KEYS)) {
  test(`a key that closes the cache while it is read: ${kind}`, async () => {
    for (const call of Object.values(CALLS)) {
      const cache = new Cache({ maxBytes: '8MiB' });
      for (let i = 0; i < 500; i++) cache.set(`k${i}`, Buffer.alloc(1_000, i));
      assert.throws(() => call(cache, make(() => cache.close())), CLOSED);
    }
    const cache = new Cache({ maxBytes: '8MiB' });
    await assert.rejects(cache.fetch(make(() => cache.close()), () => 1), CLOSED);
    for (const name of ['add', 'has', 'delete']) {
      const filter = new CuckooFilter({ capacity: 1_000 });
      assert.throws(() => filter[name](make(() => filter.close())), CLOSED);
    }
  });
}

test('a key that closes the cache and opens another one while it is read', () => {
  for (const [name, call] of Object.entries(CALLS)) {
    const cache = new Cache({ maxBytes: '8MiB' });
    let other;
    const key = KEYS.array(() => {
      if (other !== undefined) return;
      cache.close();
      other = new Cache({ maxBytes: '8MiB' });
      other.set(['k'], 'of the other');
    });
    assert.throws(() => call(cache, key), CLOSED, name);
    assert.deepEqual([...other], [[['k'], 'of the other']], name);
    other.close();
  }
});

test('a list of keys that changes, and asks for others, while it is read', () => {
  const cache = new Cache({ maxBytes: '8MiB' });
  for (let i = 0; i < 200; i++) cache.set(`k${i}`, i % 2 ? `text ${i}` : Buffer.from(`bytes ${i}`));
  const others = Array.from({ length: 64 }, (_, i) => `k${100 + i}`);
  const list = (change) => {
    const keys = ['k1', 'k2', 'k3', 'k4', 'k5'];
    return Object.defineProperty(keys, 2, { configurable: true, get: () => (change(keys), 'k3') });
  };
  const expected = (keys) => keys.map((key) => cache.get(key));
  const read = cache.getMany(list(() => assert.deepEqual(cache.getMany(others), expected(others))));
  assert.deepEqual(read, expected(['k1', 'k2', 'k3', 'k4', 'k5']));
  assert.deepEqual(cache.getMany(list((keys) => { keys.length = 3; cache.getMany(others); })), expected(['k1', 'k2', 'k3']));
  for (const change of [(keys) => keys.push(...others), (keys) => keys.push(['k7'])]) {
    const found = cache.getMany(list((keys) => { change(keys); cache.getMany(others); }));
    assert.deepEqual(found.slice(0, 5), expected(['k1', 'k2', 'k3', 'k4', 'k5']));
  }
  assert.throws(() => cache.getMany(list(() => cache.close())), CLOSED);
});

test('a later key of a batch that takes the memory of an earlier value away', () => {
  const cache = new Cache({ maxBytes: '64MiB' });
  const value = new Uint8Array(1 << 20).fill(7);
  const key = KEYS.array(() => structuredClone(value, { transfer: [value.buffer] }));
  assert.equal(cache.setMany([['a', value], [key, 1]]), 2);
  assert.equal(cache.getBuffer('a').length, 0);
  assert.equal(cache.get(['k']), 1);
});

test('a key that takes the memory of small values away', () => {
  const program = `
    const { Cache } = require('hypercache');
    const cache = new Cache({ maxBytes: '8MiB' });
    cache.set('s', Buffer.alloc(3000, 1));
    cache.set(['x'], Buffer.alloc(4000, 2));
    for (const read of ['get', 'peek', 'getBuffer', 'fetch']) {
      const { buffer } = cache.getBuffer('s');
      const key = Object.defineProperty([], 0, { get() { %ArrayBufferDetach(buffer); gc(); return 'x'; } });
      const check = (found) => {
        if (buffer.byteLength !== 0) throw new Error('the memory is still there');
        if (!Buffer.alloc(4000, 2).equals(found)) throw new Error(read + ' gave something else');
      };
      if (read === 'fetch') cache.fetch(key, () => 1).then(check).then(() => console.log('done'));
      else check(cache[read](key));
    }
  `;
  const flags = ['--expose-gc', '--allow-natives-syntax', '-e', program];
  assert.equal(execFileSync(process.execPath, flags, { cwd: here, encoding: 'utf8' }), 'done\n');
});
