// A cache handler as Next.js takes one (`cacheHandler` in next.config.js, with `cacheMaxMemorySize: 0`):
// pages and fetched data off the heap, bounded in bytes, shared by all threads of the process.

import assert from 'node:assert/strict';
import { Cache } from 'hypercache';

const store = new Cache({ name: 'next', maxBytes: '64MiB' });

/** Tags are remembered beside the pages: when each was last revalidated. */
const tagKey = (tag) => ['tag', tag];
const pageKey = (key) => ['page', key];

export default class CacheHandler {
  async get(key) {
    const entry = store.get(pageKey(key));
    if (entry === undefined) return null;
    const revalidated = store.getMany(entry.tags.map(tagKey));
    const stale = revalidated.some((time) => time !== undefined && time >= entry.lastModified);
    return stale ? null : entry;
  }

  async set(key, value, context = {}) {
    if (value === null) {
      store.delete(pageKey(key));
      return;
    }
    const headers = value.headers?.['x-next-cache-tags'];
    const tags = [...(context.tags ?? []), ...(headers === undefined ? [] : headers.split(','))];
    const ttl = typeof context.revalidate === 'number' ? context.revalidate * 1_000 : undefined;
    store.set(pageKey(key), { value, lastModified: Date.now(), tags }, { ttl });
  }

  async revalidateTag(tags) {
    store.setMany([tags].flat().map((tag) => [tagKey(tag), Date.now()]));
  }

  resetRequestCache() {}
}

// What Next.js does with it:
const handler = new CacheHandler();
assert.equal(await handler.get('/users/7'), null);
const page = { kind: 'APP_PAGE', html: '<h1>Ada</h1>', rscData: Buffer.from('rsc'), headers: { 'x-next-cache-tags': 'users,user-7' }, status: 200 };
await handler.set('/users/7', page, { revalidate: 60 });
assert.deepEqual((await handler.get('/users/7')).value, page);
await handler.set('data', { kind: 'FETCH', data: { body: '[]', status: 200 } }, { tags: ['list'], revalidate: false });
await handler.revalidateTag('user-7');
assert.equal(await handler.get('/users/7'), null);
assert.notEqual(await handler.get('data'), null);
await handler.set('data', null);
assert.equal(await handler.get('data'), null);
console.log('next: pages and tags in', store.size, 'entries');
store.close();
