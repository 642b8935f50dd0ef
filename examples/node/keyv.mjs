// A store for Keyv: whatever takes a Keyv takes this cache.

import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { Cache } from 'hypercache';
import Keyv from 'keyv';

/** Keyv's storage adapter. Keyv writes the namespace before each key and encodes values itself. */
export class HyperCacheStore extends EventEmitter {
  constructor(cache) {
    super();
    this.cache = cache;
    this.namespace = undefined;
  }

  async get(key) {
    return this.cache.get(key);
  }

  async getMany(keys) {
    return this.cache.getMany(keys);
  }

  async set(key, value, ttl) {
    return this.cache.set(key, value, { ttl });
  }

  async delete(key) {
    return this.cache.delete(key);
  }

  async deleteMany(keys) {
    return this.cache.deleteMany(keys) > 0;
  }

  async has(key) {
    return this.cache.has(key);
  }

  async clear() {
    if (this.namespace === undefined) this.cache.clear();
    else this.cache.invalidate({ prefix: `${this.namespace}:` });
  }

  async disconnect() {
    this.cache.close();
  }
}

const cache = new Cache({ maxBytes: '16MiB' });
const users = new Keyv({ store: new HyperCacheStore(cache), namespace: 'users' });
const pages = new Keyv({ store: new HyperCacheStore(cache), namespace: 'pages' });

await users.set('7', { name: 'Ada' });
await pages.set('7', '<h1>Ada</h1>', 60_000);
assert.deepEqual(await users.get('7'), { name: 'Ada' });
assert.equal(await pages.get('7'), '<h1>Ada</h1>');
assert.deepEqual(await users.get(['7', '8']), [{ name: 'Ada' }, undefined]);
assert.ok(cache.remainingTtl('pages:7') <= 60_000);

await users.clear();
assert.equal(await users.has('7'), false);
assert.equal(await pages.has('7'), true);
assert.equal(await pages.delete('7'), true);
await users.set('gone', 1, 1);
await new Promise((resolve) => setTimeout(resolve, 20));
assert.equal(await users.get('gone'), undefined);
console.log('keyv: two namespaces in one cache of', cache.pool.stats().limitBytes, 'bytes');
await users.disconnect();
