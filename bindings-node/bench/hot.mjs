// Hot look-ups beside their floor: the same work by direct calls of Node's interface (see floor/).
//
// All cases take turns in short rounds, so that what else the machine does meets all of them alike; a
// round counts its best pass, ratios are medians over the rounds. Each case is a function of its own, compiled for it alone.

import { createRequire } from 'node:module';
import { Cache } from 'hypercache';
import QuickLRU from 'quick-lru';
import { LRUCache } from 'lru-cache';

const floor = createRequire(import.meta.url)('../floor.node');

const KEYS = 1_024;
const BATCH = 32;
const ROUNDS = Number(process.env.ROUNDS ?? 61);
const PASSES = 8;

const name = 'bench';
const cache = new Cache({ name, maxBytes: '64MiB' });
if (!floor.open(name)) throw new Error('the floor has not found the store');

const key = (kind, i) => `${kind}:${1_000 + i}:field`;
const keys = (kind) => Array.from({ length: KEYS }, (_, i) => key(kind, i));
const text = (i) => `value ${i} `.padEnd(64, 'abcdefgh');
const [strings, numbers, buffers] = ['str', 'num', 'buf'].map(keys);
const bytes = Buffer.from(text(0));
const target = Buffer.alloc(64);
const map = new Map();
const lru = new LRUCache({ max: KEYS * 2 });
const quick = new QuickLRU({ maxSize: KEYS * 2 });
strings.forEach((one, i) => {
  cache.set(one, text(i));
  for (const peer of [map, lru, quick]) peer.set(one, text(i));
});
numbers.forEach((one, i) => cache.set(one, i * 1_000_003));
buffers.forEach((one, i) => cache.set(one, Buffer.from(text(i))));
const arrays = Array.from({ length: KEYS }, (_, i) => ['arr', 1_000 + i]);
arrays.forEach((one, i) => cache.set(one, text(i)));
const batches = Array.from({ length: KEYS / BATCH }, (_, i) => strings.slice(i * BATCH, (i + 1) * BATCH));

// Buffers of other sizes; fewer of the large ones, so that all of a size stay in the processor's caches.
const SIZES = [64, 256, 1_024, 4_096, 16_384];
const sized = SIZES.map((size) => {
  const count = Math.min(KEYS, (1 << 19) / size);
  const list = Array.from({ length: count }, (_, i) => [`${size}:${1_000 + i}:field`, Buffer.alloc(size, text(i))]);
  for (const [one, value] of list) cache.set(one, value);
  return { size, keys: list.map(([one]) => one), values: list.map(([, value]) => value) };
});

const collect = (...values) => values;
// Of its own: times to live cost the other entries of a store something as well.
const expiring = new Cache({ maxBytes: '64MiB' });
const ttl = { ttl: 3_600_000 };
const things = { collect, ttl, expiring, cache, floor, strings, numbers, buffers, arrays, batches, bytes, target, map, lru, quick };

/** Nanoseconds a key: the best of some passes of an expression over a list, undisturbed by other work. */
function timed(list, expression, keysEach = 1) {
  const names = Object.keys(things);
  const body = `
    let sink;
    return () => {
      let best = Infinity;
      for (let pass = 0; pass < ${PASSES}; pass++) {
        const before = process.hrtime.bigint();
        for (let i = 0; i < list.length; i++) sink = ${expression.replace('$', 'list[i]')};
        best = Math.min(best, Number(process.hrtime.bigint() - before));
      }
      return best / (list.length * ${keysEach});
    };`;
  return new Function('list', ...names, body)(list, ...Object.values(things));
}

const CASES = {
  'getString': timed(strings, 'cache.getString($)'),
  'getString, floor': timed(strings, 'floor.getString($)'),
  'has': timed(strings, 'cache.has($)'),
  'has, floor': timed(strings, 'floor.has($)'),
  'get a number': timed(numbers, 'cache.get($)'),
  'get a number, floor': timed(numbers, 'floor.getNumber($)'),
  'getInto': timed(buffers, 'cache.getInto($, target)'),
  'getInto, floor': timed(buffers, 'floor.getInto($, target)'),
  'get a string': timed(strings, 'cache.get($)'),
  'get by an array of two': timed(arrays, 'cache.get($)'),
  'getMany of 32 strings, a key': timed(batches, 'cache.getMany($)', BATCH),
  'getMany of 32, floor, a key': timed(batches, 'floor.getMany(collect, ...$)', BATCH),
  ...Object.fromEntries(sized.flatMap(({ size, keys, values }) => [
    [`get a Buffer of ${size}`, timed(keys, 'cache.get($)')],
    [`Buffer.from, ${size} bytes`, timed(values, 'Buffer.from($)')],
  ])),
  'getBuffer of 64': timed(sized[0].keys, 'cache.getBuffer($)'),
  'set a string': timed(strings, 'cache.set($, "a value of a few dozen bytes, always the same")'),
  'set a string with a ttl': timed(strings, 'expiring.set($, "a value of a few dozen bytes, always the same", ttl)'),
  'set a Buffer': timed(buffers, 'cache.set($, bytes)'),
  'Map.get': timed(strings, 'map.get($)'),
  'lru-cache.get': timed(strings, 'lru.get($)'),
  'quick-lru.get': timed(strings, 'quick.get($)'),
};

const RATIOS = [
  ['getString', 'getString, floor', 1.3],
  ['has', 'has, floor', 1.3],
  ['get a number', 'get a number, floor', 1.3],
  ['getInto', 'getInto, floor', 1.3],
  ['getMany of 32 strings, a key', 'get a string', 0.6],
  ['getMany of 32 strings, a key', 'getMany of 32, floor, a key', 1.3],
  ...SIZES.map((size) => [`get a Buffer of ${size}`, `Buffer.from, ${size} bytes`, 1.15]),
];

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const found = Object.fromEntries(Object.keys(CASES).map((one) => [one, []]));
for (let round = -8; round < ROUNDS; round++) {
  for (const [one, run] of Object.entries(CASES)) {
    const time = run();
    if (round >= 0) found[one].push(time);
  }
}

console.log(`Hot look-ups of ${KEYS} keys, 64-byte values, Node ${process.versions.node}, ns, medians of ${ROUNDS} rounds\n`);
for (const [one, times] of Object.entries(found)) console.log(`${one.padEnd(32)}${median(times).toFixed(0).padStart(6)}`);
console.log('');
for (const [one, other, most] of RATIOS) {
  const ratio = median(found[one].map((time, round) => time / found[other][round]));
  const said = ratio <= most ? '' : '  SHORT';
  console.log(`${one} / ${other}`.padEnd(62) + `${ratio.toFixed(2)}  (at most ${most})${said}`);
}
