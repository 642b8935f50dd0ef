// Keys: what each kind is in bytes, and that it comes back as what it was.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cache, RawKey } from 'hypercache';

const open = () => new Cache({ maxBytes: '128MiB' });

const nested = (depth) => (depth === 1 ? [] : [nested(depth - 1)]);

const KEYS = [
  '', 'user:7', 'é', '日本語', '\u{1f600}', '\0', 'x'.repeat(510), 'x'.repeat(511), 'x'.repeat(512),
  'ü'.repeat(600), 'x'.repeat(65_535), 0, 7, -7, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER,
  2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 63n, -(2n ** 200n), Buffer.alloc(0), Buffer.from('bytes'),
  Buffer.alloc(65_533), [], ['a'], [1, 'a', [Buffer.from('b'), 2n ** 80n]], nested(32),
  new RawKey(Buffer.from([0xff, 0])), new RawKey(Buffer.from([0x80])),
];

test('every key names its entry and comes back as it was', () => {
  const cache = open();
  KEYS.forEach((key, index) => cache.set(key, index));
  assert.equal(cache.size, KEYS.length);
  KEYS.forEach((key, index) => {
    assert.equal(cache.get(key), index);
    assert.deepEqual(cache.getMany([key, key]), [index, index]);
  });
  const back = new Map([...cache.entries()].map(([key, index]) => [index, key]));
  KEYS.forEach((key, index) => assert.deepEqual(back.get(index), key));
  for (const key of KEYS) assert.equal(cache.delete(key), true);
  assert.equal(cache.size, 0);
  cache.close();
});

test('the bytes of a key are those of every language', () => {
  const cache = open();
  const raw = (key, bytes) => {
    cache.set(key, 'v');
    assert.equal(cache.get(new RawKey(Buffer.from(bytes, 'latin1'))), 'v', bytes);
    cache.clear();
  };
  raw('user:7', 'user:7');
  raw('é', '\xc3\xa9');
  raw(Buffer.from('\0x'), '\xffb\0x');
  raw(7, '\xffi\x80\0\0\0\0\0\0\x07');
  raw(-1, '\xffi\x7f\xff\xff\xff\xff\xff\xff\xff');
  raw(7n, '\xffi\x80\0\0\0\0\0\0\x07');
  raw(-(2n ** 63n) - 1n, '\xffI-9223372036854775809');
  raw(['a', -1, []], '\xfft\0\x01a\0\x0a\xffi\x7f\xff\xff\xff\xff\xff\xff\xff\0\x02\xfft');
  cache.close();
});

test('-0 is 0, a Uint8Array is a Buffer, and a small bigint is a number', () => {
  const cache = open();
  cache.set(-0, 'zero').valueOf();
  assert.equal(cache.get(0), 'zero');
  cache.set(new Uint8Array([1, 2]), 'bytes');
  assert.equal(cache.get(Buffer.from([1, 2])), 'bytes');
  cache.set(5n, 'five');
  assert.equal(cache.get(5), 'five');
  cache.close();
});

test('arrays are the same keys by whatever way they are read', async () => {
  const cache = open();
  class Mine extends Array {}
  const holder = Object.freeze(['frozen', 5]);
  const keys = [
    [], [''], ['', ''], ['a', 'b'], ['ab'], ['a', 1], [1, 'a'], [1], ['1'], [-1, 2 ** 52, Number.MIN_SAFE_INTEGER],
    ['é', 'ü', 3], ['\u{1f600}', '日本'], ['x'.repeat(499)], ['x'.repeat(500)], ['x'.repeat(501)], ['x'.repeat(510), 'y'],
    ['x'.repeat(5_000), 1], Array.from({ length: 16 }, (_, i) => i), Array.from({ length: 17 }, (_, i) => `p${i}`),
    ['a', ['b']], ['a', Buffer.from('b')], ['a', 5n], Mine.from(['mine', 7]), holder, [0, 'zero'],
  ];
  // What reads lists by the addon itself: batches of other than strings, and calls that are not hot.
  const slow = (key) => [cache.getMany([key])[0], cache.getEntry(key)?.value];
  const fast = (key) => [cache.get(key), cache.peek(key), cache.has(key) ? cache.get(key) : undefined];
  for (const [i, key] of keys.entries()) {
    const text = `value ${i}`;
    assert.equal(cache.has(key), false, `key ${i}`);
    cache.set(key, text);
    assert.deepEqual([...slow(key), ...fast(key)], Array(5).fill(text), `key ${i}`);
    assert.equal(cache.getString(key), text);
    assert.deepEqual(cache.getBuffer(key), Buffer.from(text));
    assert.equal(cache.getInto(key, Buffer.alloc(100)), text.length);
    assert.equal(await cache.fetch(key, () => 'loaded'), text);
    cache.set(key, text, { ttl: 50_000 });
    assert.ok(cache.remainingTtl(key) <= 50_000);
    assert.equal(cache.size, i + 1);
  }
  const all = new Set([...cache.keys()].map((key) => cache.get(key)));
  assert.equal(all.size, keys.length);
  for (const key of keys) assert.equal(cache.delete(key), true);
  cache.setMany(keys.map((key, i) => [key, i]));
  for (const [i, key] of keys.entries()) {
    assert.equal(cache.get(key), i);
    assert.equal(cache.get([...key]), i);
  }
  assert.equal(cache.get([-0, 'zero']), keys.length - 1);
  cache.validate();
  cache.close();
});

test('a call that fails between joining a key and its use misleads no other', () => {
  const cache = open();
  cache.set('ab', 'text');
  cache.set(['a', 'b'], 'array');
  for (const wrong of [() => Cache.prototype.get.call({}, ['a', 'b']), () => cache.getInto(['a', 'b'], 5), () => cache.set(['a', 'b'], Symbol('x'))]) {
    assert.throws(wrong, TypeError);
    assert.equal(cache.get('ab'), 'text');
    assert.deepEqual(cache.getMany(['ab', ['a', 'b']]), ['text', 'array']);
  }
  cache.close();
});

test('what cannot be a key is refused, everywhere', () => {
  const cache = open();
  const calls = [
    (key) => cache.get(key), (key) => cache.set(key, 1), (key) => cache.has(key), (key) => cache.delete(key),
    (key) => cache.getMany(['a', key]), (key) => cache.setMany([[key, 1]]), (key) => cache.deleteMany([key]),
    (key) => cache.getInto(key, Buffer.alloc(1)), (key) => cache.getString(key), (key) => cache.getBuffer(key),
    (key) => cache.incr(key), (key) => cache.touch(key), (key) => cache.add(key, 1), (key) => cache.remainingTtl(key),
  ];
  const symbol = Symbol('key');
  for (const call of calls) {
    for (const key of [undefined, null, true, {}, () => 1, symbol, new Date(0), [null],
      [[{}]], new Float32Array(1), [new RawKey(Buffer.alloc(1))], '\ud800', 'ok\udfff', ['\ud800']]) {
      assert.throws(() => call(key), TypeError);
    }
    for (const key of [1.5, NaN, 2 ** 53, [[1.5]], 'x'.repeat(65_536), 'ü'.repeat(40_000), Buffer.alloc(65_534), 2n ** 300_000n,
      ['x'.repeat(65_000), 'x'.repeat(1_000)], nested(33), new RawKey(Buffer.alloc(65_536))]) {
      assert.throws(() => call(key), RangeError);
    }
  }
  assert.throws(() => new RawKey('text'), TypeError);
  assert.equal(cache.size, 0);
  cache.close();
});

test('prefixes and patterns are those of the bytes', () => {
  const cache = open();
  cache.setMany(['user:1', 'user:22', 'page:1', 'user*'].map((key) => [key, key]));
  assert.deepEqual([...cache.keys({ prefix: 'user:' })].sort(), ['user:1', 'user:22']);
  assert.deepEqual([...cache.keys({ glob: '*:?' })].sort(), ['page:1', 'user:1']);
  assert.deepEqual([...cache.values({ glob: 'user\\*' })], ['user*']);
  assert.equal(cache.invalidate({ prefix: Buffer.from('user:') }), 2);
  assert.equal(cache.invalidate({ glob: '*' }), 2);
  cache.set('in session', 1, { session: 9 });
  cache.set('bytes', Buffer.alloc(1));
  assert.equal(cache.invalidate({ session: 9n }), 1);
  assert.equal(cache.invalidate({ type: 0 }), 1);
  for (const match of [undefined, {}, { prefix: 'a', glob: 'b' }, { suffix: 'a' }, { prefix: 5 }, 'user:']) {
    assert.throws(() => cache.invalidate(match), TypeError);
  }
  cache.close();
});

test('a bigint is too long before its decimal is made', () => {
  const cache = open();
  for (const bits of [300_000n, 20_000_000n]) assert.throws(() => cache.get(1n << bits), RangeError);
  const long = 10n ** 60_000n;
  cache.set(long, 1);
  assert.equal(cache.get(long), 1);
  cache.close();
});
