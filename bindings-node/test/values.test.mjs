// What goes in comes out, with its type.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cache } from 'hypercache';

const open = (options) => new Cache({ maxBytes: '64MiB', ...options });

const VALUES = [
  '', 'Ada', 'é', '日本語', '\u{1f600}', '\0', 'x'.repeat(1022), 'x'.repeat(1023), 'x'.repeat(1024),
  'é'.repeat(1022), 'x'.repeat(300_000), 'ü'.repeat(300_000), '\ud800', 'a\udc00b'.repeat(2_000),
  0, 1, -1, 2 ** 31, -(2 ** 31) - 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER,
  2 ** 53, -(2 ** 53), -0, 0.1, NaN, Infinity, -Infinity, 5e-324, 1.7e308,
  0n, 5n, -5n, 2n ** 53n, 2n ** 53n - 1n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n), 2n ** 63n, 2n ** 200n,
  true, false, null,
  Buffer.alloc(0), Buffer.from('bytes'), Buffer.alloc(4_095, 1), Buffer.alloc(4_096, 2),
  Buffer.alloc(4_097, 3), Buffer.alloc(16_384, 4), Buffer.alloc(1_000_000, 5),
  {}, { a: 1, b: ['x', { c: null }] }, [1, , 3], new Date(0), new Map([[{ k: 1 }, new Set([2])]]), /x/g,
  new Error('stored').message, new Float64Array([1.5]), new ArrayBuffer(3), { nested: Buffer.from('in it') },
  { long: 'x'.repeat(100_000) },
];

const shown = (value) => `${typeof value} ${String(value).slice(0, 20)}`;

test('every value comes back as it went in', () => {
  using(open(), (cache) => {
    for (const value of VALUES) {
      assert.equal(cache.set('k', value), true, shown(value));
      for (const read of [cache.get('k'), cache.peek('k'), cache.getEntry('k').value, [...cache.values()][0]]) {
        assert.deepEqual(read, value, shown(value));
        assert.ok(typeof value === 'object' || Object.is(read, value), shown(value));
      }
      assert.deepEqual(cache.getMany(['k', 'none', 'k']), [value, undefined, value], shown(value));
      assert.deepEqual(cache.take('k'), value);
      assert.equal(cache.has('k'), false);
    }
    cache.validate();
  });
});

test('batches store what single writes store', () => {
  using(open(), (cache) => {
    const entries = VALUES.map((value, index) => [`k${index}`, value]);
    assert.equal(cache.setMany(entries), VALUES.length);
    assert.deepEqual(cache.getMany(entries.map(([key]) => key)), VALUES);
    assert.equal(cache.size, VALUES.length);
    assert.deepEqual(new Map(cache.entries()), new Map(entries));
    assert.equal(cache.deleteMany(entries.map(([key]) => key)), VALUES.length);
    assert.equal(cache.size, 0);
  });
});

test('batches of all kinds of values, in any order and of any size', () => {
  using(open(), (cache) => {
    const small = VALUES.filter((value) => typeof value !== 'string' || value.length < 2_000);
    const long = Array.from({ length: 200 }, (_, i) => String(i).repeat(i * 7 % 400));
    const all = [...small, ...long, ...long.map((text) => Buffer.from(text)), ...long.map((_, i) => i / 8)];
    for (const name of [(i) => `k${i}`, (i) => `\u00e9${i}`, (i) => `${i}`.padEnd(400), (i) => i, (i) => ['k', i]]) {
      all.forEach((value, i) => cache.set(name(i), value));
      const order = all.map((_, i) => (i * 37) % all.length);
      for (const count of [1, 5, 32, 64, all.length]) {
        for (let at = 0; at < order.length; at += count) {
          const part = order.slice(at, at + count);
          const read = cache.getMany(part.map(name));
          assert.deepEqual(read, part.map((i) => all[i]));
          read.forEach((value, i) => assert.ok(!Object.is(all[part[i]], -0) || Object.is(value, -0)));
        }
      }
    }
  });
});

test('batches of text store what single writes store, short or long, with a ttl or without', () => {
  using(open(), (cache) => {
    const texts = ['', 'a', 'é', '\u{1f600}', 'x'.repeat(300), 'y'.repeat(9_000), '\ud800', ' '];
    for (const name of [(i) => `k${i}`, (i) => `ü${i}`, (i) => String(i).padEnd(600), (i) => (i === 0 ? '' : '0'.repeat(i))]) {
      for (const count of [1, 2, 31, 32, 33, 100]) {
        for (const ttl of [undefined, 50_000]) {
          for (const pick of [() => 'always the same', (i) => texts[i % texts.length], (i) => 'z'.repeat(i * 7)]) {
            cache.clear();
            const entries = Array.from({ length: count }, (_, i) => [name(i), pick(i)]);
            assert.equal(cache.setMany(entries, { ttl }), count);
            for (const [key, value] of entries) {
              assert.equal(cache.get(key), value);
              assert.equal(cache.remainingTtl(key) <= 50_000, ttl !== undefined);
            }
          }
        }
      }
    }
    assert.throws(() => cache.setMany([['a', 'x'], ['\ud800', 'y']]), TypeError);
    assert.throws(() => cache.setMany([['a', 'x'], ['x'.repeat(70_000), 'y']]), RangeError);
    cache.validate();
  });
});

test('Buffers and texts of batches are not changed by what is read later', () => {
  using(open(), (cache) => {
    for (let i = 0; i < 640; i++) cache.setMany([[`b${i}`, Buffer.alloc(i % 90, i)], [`t${i}`, `text ${i}`]]);
    const read = [];
    for (let i = 0; i < 640; i += 32) {
      const keys = Array.from({ length: 64 }, (_, j) => `${j % 2 ? 'b' : 't'}${i + (j >> 1)}`);
      const found = cache.getMany(keys);
      read.push(...found);
      for (const bytes of found) if (Buffer.isBuffer(bytes)) bytes.fill(bytes[0] ?? 0);
    }
    for (let i = 0; i < 640; i++) {
      assert.equal(read[2 * i], `text ${i}`);
      assert.deepEqual(read[2 * i + 1], Buffer.alloc(i % 90, i));
      assert.equal(Object.getPrototypeOf(read[2 * i + 1]), Buffer.prototype);
    }
  });
});

test('values that other languages read have a type of their own', () => {
  using(open(), (cache) => {
    const types = [
      ['text', 1], [7, 2], [2n ** 60n, 2], [0.5, 3], [-0, 3], [true, 4], [null, 5], [Buffer.from('b'), 0],
      [new Uint8Array(2), 0], [{}, 65], [5n, 65], ['\ud800', 65],
    ];
    for (const [value, type] of types) {
      cache.set('k', value);
      assert.equal(cache.getEntry('k').type, type, shown(value));
    }
    cache.set('k', 258);
    assert.deepEqual(cache.getBuffer('k'), Buffer.from([2, 1, 0, 0, 0, 0, 0, 0]));
  });
});

test('bytes may be given a type, and unknown types come as bytes', () => {
  using(open(), (cache) => {
    cache.set('json', Buffer.from('{"a":[1]}'), { type: 6 });
    assert.deepEqual(cache.get('json'), { a: [1] });
    assert.equal(cache.getString('json'), '{"a":[1]}');
    cache.set('pickle', Buffer.from([0x80, 4]), { type: 64, flags: 0xdeadbeef, session: 2n ** 64n - 1n });
    const entry = cache.getEntry('pickle');
    assert.deepEqual(
      { ...entry, version: typeof entry.version },
      { value: Buffer.from([0x80, 4]), type: 64, flags: 0xdeadbeef, session: 2n ** 64n - 1n, ttl: Infinity, version: 'bigint', bytes: 2 },
    );
    assert.throws(() => cache.set('k', 'text', { type: 6 }), TypeError);
    assert.throws(() => cache.set('k', Buffer.alloc(1), { type: 256 }), RangeError);
  });
});

test('codecs', async (t) => {
  const value = { a: [1, 'x', null, true], b: { c: 1.5 } };
  await t.test('JSON', () => {
    using(open({ codec: 'json' }), (cache) => {
      cache.set('k', value);
      assert.equal(cache.getEntry('k').type, 6);
      assert.equal(cache.getString('k'), JSON.stringify(value));
      assert.deepEqual(cache.get('k'), value);
      assert.throws(() => cache.set('k', () => 1), TypeError);
      cache.set('k', '\ud800');
      assert.equal(cache.get('k'), '\ud800');
    });
  });
  const skip = process.env.HYPERCACHE_TEST_WITHOUT_TOOLS !== undefined && '@msgpack/msgpack is not installed';
  await t.test('MessagePack', { skip }, () => {
    using(open({ codec: 'msgpack' }), (cache) => {
      const whole = { ...value, bytes: Buffer.from('b'), large: 2 ** 40, larger: 2n ** 60n, small: -7 };
      cache.set('k', whole);
      assert.equal(cache.getEntry('k').type, 7);
      assert.deepEqual(cache.get('k'), whole);
      assert.deepEqual(cache.getMany(['k', 'k'])[1].a, value.a);
      for (const big of [2n ** 64n - 1n, -(2n ** 63n), { a: [2n ** 63n] }]) {
        cache.set('k', big);
        assert.deepEqual(cache.get('k'), big);
      }
      cache.set('k', { bytes: Buffer.from('b') });
      cache.get('k').bytes.fill(0);
      assert.deepEqual(cache.get('k'), { bytes: Buffer.from('b') });
      assert.notEqual(cache.get('k').bytes.buffer, cache.get('k').bytes.buffer);
      for (const bigger of [2n ** 64n, -(2n ** 63n) - 1n, { a: [1, { b: 2n ** 70n }] }]) {
        assert.throws(() => cache.set('k', bigger), RangeError);
      }
    });
  });
  await t.test("one's own", () => {
    const codec = {
      type: 200,
      encode: (given) => Buffer.from(`<${JSON.stringify(given)}>`),
      decode: (bytes) => JSON.parse(bytes.subarray(1, -1)),
    };
    using(open({ codec }), (cache) => {
      cache.set('k', value);
      assert.equal(cache.getEntry('k').type, 200);
      assert.deepEqual(cache.get('k'), value);
      assert.deepEqual(cache.getMany(['k']), [value]);
    });
    for (const bad of [{}, 'yaml', 5, null, { encode() {} }]) assert.throws(() => open({ codec: bad }), TypeError);
    assert.throws(() => open({ codec: { ...codec, type: 65 } }), RangeError);
    using(open({ codec: { ...codec, encode: () => 'text' } }), (cache) => {
      assert.throws(() => cache.set('k', {}), /Uint8Array/);
    });
  });
  await t.test('V8 reads what JSON wrote, and the other way round', () => {
    using(open({ name: 'two-codecs' }), (first) => {
      using(open({ name: 'two-codecs', codec: 'json' }), (second) => {
        first.set('v8', new Map([[1, 2]]));
        second.set('json', value);
        assert.deepEqual(second.get('v8'), new Map([[1, 2]]));
        assert.deepEqual(first.get('json'), value);
      });
    });
  });
  await t.test('what a codec throws reaches the caller', () => {
    using(open(), (cache) => {
      cache.set('k', 'before');
      assert.throws(() => cache.set('k', () => 1), /could not be cloned/);
      assert.equal(cache.get('k'), 'before');
    });
  });
});

test('typed arrays in values are objects of their own', () => {
  const value = {
    doubles: new Float64Array([1, 2]), bytes: Buffer.from('bytes'), view: new DataView(new ArrayBuffer(3)),
    words: new Uint16Array([1, 2, 3]), big: new BigInt64Array([-1n]), clamped: new Uint8ClampedArray(2),
    plain: new Uint8Array([7]),
  };
  using(open(), (cache) => {
    for (const shift of ['', 'x', 'xy', 'xyz']) {
      cache.set('k', { shift, ...value });
      cache.set('large', { shift, ...value, long: 'x'.repeat(10_000) });
      for (const read of [() => cache.get('k'), () => cache.getMany(['a', 'k'])[1], () => cache.get('large')]) {
        const [first, second] = [read(), read()];
        for (const [name, part] of Object.entries(value)) {
          assert.deepEqual(first[name], part);
          assert.equal(Object.getPrototypeOf(first[name]), Object.getPrototypeOf(part));
          if (name !== 'bytes') assert.equal(first[name].buffer.byteLength, part.byteLength, name);
          assert.notEqual(first[name].buffer, second[name === 'bytes' ? 'plain' : name].buffer);
        }
        first.doubles[0] = 9;
        first.bytes.fill(0);
        structuredClone(first.words, { transfer: [first.words.buffer] });
        assert.deepEqual(read(), { ...second });
      }
    }
  });
});

test('a Buffer is not changed by what is read later', () => {
  using(open(), (cache) => {
    const expected = [];
    const read = [];
    for (let i = 0; i < 3_000; i++) {
      const bytes = Buffer.alloc(i % 90, i);
      cache.set(i, bytes);
      expected.push(bytes);
      read.push(cache.getBuffer(i));
      cache.getString(i);
      read[i].fill(i);
    }
    assert.deepEqual(read, expected);
  });
});

test('taking away the memory under a Buffer harms no later read', () => {
  using(open(), (cache) => {
    cache.set('k', Buffer.from('bytes'));
    const { buffer } = cache.get('k');
    for (const take of [() => buffer.transfer?.(), () => structuredClone(buffer, { transfer: [buffer] })]) {
      try {
        take();
      } catch {
        // What is marked as untransferable may be refused, copied or given away: all are good.
      }
    }
    assert.deepEqual(cache.get('k'), Buffer.from('bytes'));
    cache.set('text', 'text');
    assert.equal(cache.get('text'), 'text');
  });
});

function using(cache, body) {
  try {
    return body(cache);
  } finally {
    cache.close();
  }
}

test('text that no string can hold is an error, not a miss', async () => {
  const bytes = 2 ** 29;
  const cache = new Cache({ maxBytes: '1500MiB', maxValueBytes: '1GiB' });
  assert.equal(cache.set('k', Buffer.alloc(bytes, 97), { type: 1 }), true);
  const tooLong = { name: 'RangeError', code: 'ERR_STRING_TOO_LONG' };
  assert.throws(() => cache.get('k'), tooLong);
  assert.throws(() => cache.getString('k'), tooLong);
  await assert.rejects(cache.fetch('k', () => 'loaded'), tooLong);
  assert.equal(cache.getBuffer('k').length, bytes);
  cache.close();
});

test('what the codec cannot read is not taken out', () => {
  let fails = true;
  const codec = {
    encode: (value) => Buffer.from(JSON.stringify(value)),
    decode: (bytes) => {
      if (fails) throw new Error('cannot decode');
      return JSON.parse(bytes);
    },
  };
  const cache = new Cache({ maxBytes: '4MiB', codec });
  for (const value of [{ a: 1 }, { long: 'x'.repeat(100_000) }]) {
    fails = true;
    cache.set('k', value);
    assert.throws(() => cache.take('k'), /cannot decode/);
    fails = false;
    assert.deepEqual(cache.take('k'), value);
    assert.equal(cache.take('k'), undefined);
  }
  cache.close();
});
