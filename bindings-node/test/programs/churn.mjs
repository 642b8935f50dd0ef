// A worker of the history check. Values of a key carry the number of their write, and numbers only
// grow: a reader that sees a smaller one than was finished before it began has seen a stale value.

import { parentPort, workerData } from 'node:worker_threads';
import { Cache } from 'hypercache';

const { name, keys, rounds, id, finished } = workerData;
const cache = new Cache({ name });
const done = new Int32Array(finished);
const value = (key, number) => `${number}:${key}:${'abcdefgh'.repeat(1 + ((number * 7 + key) % 40))}:${number}`;

let wrong = null;
let hits = 0;

function check(key, text, before) {
  if (text === undefined) return;
  hits += 1;
  const number = Number(text.slice(0, text.indexOf(':')));
  if (text !== value(key, number)) wrong ??= `torn: ${text}`;
  if (number < before) wrong ??= `stale: key ${key} is at ${number} after ${before} was written`;
}

let seed = id + 1;
const random = (n) => (seed = (seed * 48_271) % 2_147_483_647) % n;

for (let round = 0; round < rounds && wrong === null; round++) {
  const key = random(keys);
  if (key % workerData.workers === id && random(2) === 0) {
    // Each key has one writer, so that numbers grow.
    const number = done[key] + 1;
    cache.set(`k${key}`, value(key, number));
    Atomics.store(done, key, number);
  } else if (random(8) === 0) {
    const wanted = Array.from({ length: 16 }, (_, i) => (key + i) % keys);
    const before = wanted.map((one) => Atomics.load(done, one));
    cache.getMany(wanted.map((one) => `k${one}`)).forEach((text, i) => check(wanted[i], text, before[i]));
  } else {
    const before = Atomics.load(done, key);
    check(key, cache.getString(`k${key}`), before);
  }
}
parentPort.postMessage({ wrong, hits });
