// Every refusal names what is refused, what it is, and what is allowed: a TypeError for the wrong kind of
// value, a RangeError for the right kind outside of its range.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cache, CuckooFilter, Pool, RawKey } from 'hypercache';

const cache = new Cache({ maxBytes: '8MiB', maxValueBytes: '64KiB' });
const bytes = Buffer.from('bytes');
const load = () => 1;

/** What is called, with what class of error, and what the message says. */
const REFUSALS = [
  [() => cache.get({}), TypeError, /^key is an object; a string, a Uint8Array, .* is allowed$/],
  [() => cache.get(), TypeError, /^key is undefined; /],
  [() => cache.get(Symbol('k')), TypeError, /^key is a symbol; /],
  [() => cache.get(1.5), RangeError, /^key is 1\.5; as a number, a safe integer is allowed$/],
  [() => cache.get('x'.repeat(70_000)), RangeError, /key takes 70000 bytes or more, and may take 65535$/],
  [() => cache.getInto('k', []), TypeError, /^target is an array; a Uint8Array is allowed$/],
  [() => cache.getInto('k', bytes, '1'), TypeError, /^offset is "1"; an integer from 0 to the target's 5 is allowed$/],
  [() => cache.getInto('k', bytes, 6), RangeError, /^offset is 6; an integer from 0 to the target's 5 is allowed$/],
  [() => cache.getEntry('k', { peak: true }), TypeError, /^getEntry has no option peak; options are peek, raw$/],
  [() => cache.getEntry('k', null), TypeError, /^the options of getEntry are null; an object is allowed$/],
  [() => cache.getMany('ab'), TypeError, /^keys is "ab"; an iterable of keys is allowed$/],
  [() => cache.getMany(), TypeError, /^keys is undefined; /],
  [() => cache.deleteMany(5), TypeError, /^keys is 5; /],
  [() => cache.set('k', 1, 1_000), TypeError, /^the options of set are 1000; an object is allowed$/],
  [() => cache.set('k', 1, { tll: 5 }), TypeError, /^set has no option tll; options are flags, .*, type$/],
  [() => cache.set('k', undefined, { tll: 5 }), TypeError, /^set has no option tll; /],
  [() => cache.set('k', 1, { ttl: '5s' }), TypeError, /^ttl is "5s"; a number of milliseconds .* is allowed$/],
  [() => cache.set('k', 1, { ttl: 5n }), TypeError, /^ttl is 5n; /],
  [() => cache.set('k', 1, { ttl: NaN }), RangeError, /^ttl is NaN; /],
  [() => cache.set('k', 1, { session: -1 }), RangeError, /^session is -1; an integer from 0 to 18446744073709551615 is/],
  [() => cache.set('k', 1, { flags: 2 ** 32 }), RangeError, /^flags is 4294967296; an integer from 0 to 4294967295 is/],
  [() => cache.set('k', 1, { softTtl: Infinity }), RangeError, /^softTtl is Infinity; an integer from 0 to 90071992547/],
  [() => cache.set('k', 1, { ifVersion: '1' }), TypeError, /^ifVersion is "1"; an integer from 0 to /],
  [() => cache.set('k', 'text', { type: 200 }), TypeError, /^value is "text"; with a type of its own, a Uint8Array is/],
  [() => cache.set('k', bytes, { type: 256 }), RangeError, /^type is 256; an integer from 0 to 255 is allowed$/],
  [() => cache.set('k', () => 1), TypeError, /^value holds what cannot be stored: .* could not be cloned/],
  [() => cache.set('k', { s: new SharedArrayBuffer(1) }), TypeError, /^value holds what cannot be stored: memory/],
  [() => cache.set('k', 'x'.repeat(65_537)), RangeError, /^value takes 65537 bytes; up to 65536, .* is allowed$/],
  [() => cache.setMany([['k', bytes], ['l', Buffer.alloc(70_000)]]), RangeError, /^value takes 70000 bytes; up to 65536/],
  [() => cache.add('k', undefined), TypeError, /^value is undefined; /],
  [() => cache.add('k', 1, { ifVersion: 1n }), TypeError, /^add has no option ifVersion; /],
  [() => cache.setMany({ a: 1 }), TypeError, /^entries is an object; an iterable of \[key, value\] is allowed$/],
  [() => cache.setMany(['ab']), TypeError, /^an entry is "ab"; \[key, value\] is allowed$/],
  [() => cache.setMany([], { tll: 5 }), TypeError, /^setMany has no option tll; /],
  [() => cache.delete('k', { version: 1n }), TypeError, /^delete has no option version; options are ifVersion$/],
  [() => cache.incr('n', '1'), TypeError, /^delta is "1"; a safe integer, or a bigint of 64 bits, is allowed$/],
  [() => cache.incr('n', 2 ** 53), RangeError, /^delta is 9007199254740992; a safe integer, or a bigint of 64 bits, is/],
  [() => cache.incr('n', 1, { ttl: 0 }), RangeError, /^ttl is 0; for a counter, more than 0 is allowed$/],
  [() => cache.incr('n', 1, { tll: 0 }), TypeError, /^incr has no option tll; options are initial, ttl$/],
  [() => cache.touch('k', 'later'), TypeError, /^ttl is "later"; /],
  [() => cache.invalidate(), TypeError, /^match is undefined; what to invalidate .* is allowed$/],
  [() => cache.invalidate('user:'), TypeError, /^match is "user:"; one of \{ prefix \}, .* is allowed$/],
  [() => cache.invalidate({ prefx: 'a' }), TypeError, /^match has prefx; one of \{ prefix \}, .* is allowed$/],
  [() => cache.invalidate({ glob: 5 }), TypeError, /^glob is 5; a string or a Uint8Array is allowed$/],
  [() => [...cache.keys({ type: 256 })], RangeError, /^type is 256; /],
  [() => cache.forEach({}), TypeError, /^visit is an object; a function is allowed$/],
  [() => cache.latency('put'), TypeError, /^operation is "put"; 'get', 'set' or 'delete' is allowed$/],
  [() => cache.resize(), TypeError, /^maxBytes is undefined; a number of bytes, or text such as "64MiB", is allowed$/],
  [() => cache.resize('64M'), RangeError, /^maxBytes: "64M" is no byte size/],
  [() => cache.resize(5), Error, /^maxBytes is 5; 1048576 to \d+ is allowed$/],
  [() => cache.setKnownKeys([]), TypeError, /^filter is an array; a CuckooFilter is allowed$/],
  [() => cache.wrap(5), TypeError, /^fn is 5; a function is allowed$/],
  [() => cache.wrap(load, { nme: 'x' }), TypeError, /^wrap has no option nme; options are absentTtl, key, name, /],
  [() => cache.wrap(load, { key: 'x' }), TypeError, /^key is "x"; a function is allowed$/],
  [() => cache.wrap(load, { name: 5 }), TypeError, /^name is 5; a string is allowed$/],
  [() => new Cache({ maxBytes: {} }), TypeError, /^maxBytes is an object; a number of bytes, or text such as /],
  [() => new Cache({ maxBytes: -1 }), RangeError, /^maxBytes is -1; an integer from 0 to /],
  [() => new Cache({ maxBytes: 1 }), Error, /^maxBytes is 1; 1048576 to \d+ is allowed$/],
  [() => new Cache({ maxBytes: '8MiB', latency: 'no' }), TypeError, /^latency is "no"; true or false is allowed$/],
  [() => new Cache({ maxBytes: '8MiB', policy: 'lfru' }), RangeError, /^policy: .*lfru.*lru/],
  [() => new Cache({ maxBytes: '8MiB', ttl: 'keep' }), TypeError, /^ttl is "keep"; a number of milliseconds is allowed$/],
  [() => new Cache({ maxBytes: '8MiB', name: 'a\0b' }), RangeError, /^name is "a\\0b"; a string without NUL characters is/],
  [() => new Cache({ maxBytes: '8MiB', codec: 'yaml' }), TypeError, /^codec is "yaml"; 'v8', 'json', 'msgpack' or /],
  [() => new Cache({ pool: {} }), TypeError, /^pool is an object; a Pool is allowed$/],
  [() => new Cache('8MiB'), TypeError, /^the options of Cache are "8MiB"; an object is allowed$/],
  [() => new Pool({ maxBytes: '8MiB', high: 101 }), RangeError, /^high is 101; an integer from 0 to 100 is allowed$/],
  [() => cache.pool.setThresholds({ hgh: 5 }), TypeError, /^setThresholds has no option hgh; /],
  [() => cache.pool.trim([]), TypeError, /^bytes is an array; a number of bytes/],
  [() => new CuckooFilter({ capacity: 'x' }), TypeError, /^capacity is "x"; an integer from 0 to /],
  [() => new CuckooFilter({ capacity: 10 }).hasMany('ab'), TypeError, /^keys is "ab"; an iterable of keys is allowed$/],
  [() => new RawKey('text'), TypeError, /^bytes is "text"; a Uint8Array is allowed$/],
];

test('refusals name what is refused and what is allowed', () => {
  for (const [call, Class, message] of REFUSALS) {
    assert.throws(call, (error) => {
      assert.ok(error instanceof Class, `${call}: ${error}`);
      if (Class !== Error) assert.equal(error.constructor, Class, `${call}: ${error}`);
      assert.match(error.message, message, String(call));
      return true;
    });
  }
  cache.validate();
});

test('what fetch refuses it refuses before anything is loaded', async () => {
  let loads = 0;
  const loader = () => { loads += 1; return 1; };
  const wrong = [
    [5, {}, TypeError, /^loader is 5; a function is allowed$/],
    [loader, null, TypeError, /^the options of fetch are null; an object is allowed$/],
    [loader, 500, TypeError, /^the options of fetch are 500; an object is allowed$/],
    [loader, { tll: 5 }, TypeError, /^fetch has no option tll; options are absentTtl, signal, staleWhileRevalidate, ttl$/],
    [loader, { ttl: '5' }, TypeError, /^ttl is "5"; a number of milliseconds is allowed$/],
    [loader, { ttl: 'keep' }, TypeError, /^ttl is "keep"; /],
    [loader, { ttl: NaN }, RangeError, /^ttl is NaN; /],
    [loader, { absentTtl: -1 }, RangeError, /^absentTtl is -1; /],
    [loader, { staleWhileRevalidate: 5 }, RangeError, /^ttl is undefined; with staleWhileRevalidate, /],
    [loader, { signal: 5 }, TypeError, /^signal is 5; an AbortSignal is allowed$/],
    [loader, { signal: {} }, TypeError, /^signal is an object; /],
  ];
  for (const [first, options, Class, message] of wrong) {
    await assert.rejects(cache.fetch('refused', first, options), { name: Class.name, message });
  }
  assert.equal(loads, 0);
  assert.equal(cache.has('refused'), false);
});

test('what holds a handle cannot be cloned, posted or stored', () => {
  const { port1, port2 } = new MessageChannel();
  const objects = [cache, cache.pool, new CuckooFilter({ capacity: 10 })];
  for (const object of objects) {
    const name = object.constructor.name;
    const error = { name: 'DataCloneError', message: `#<${name}> could not be cloned.` };
    assert.throws(() => structuredClone(object), error);
    assert.throws(() => structuredClone({ in: [object] }), error);
    assert.throws(() => port1.postMessage(object), error);
    assert.throws(() => cache.set('k', object), { name: 'TypeError', message: new RegExp(`#<${name}> could not be cloned`) });
    assert.equal(Object.prototype.toString.call(object), '[object Object]');
    assert.equal('deref' in object, false);
  }
  port1.close();
  port2.close();
});
