// Checked by tsc, never run: what the types allow and what they refuse.

import hypercache, {
  Cache, CuckooFilter, HyperCacheError, Pool, RawKey, getInclude, getLibraryDir, metricsText, versions,
  type Bytes, type CacheConfig, type CacheOptions, type CacheStats, type Codec, type Entry, type FetchOptions,
  type FilterOptions,
  type FilterStats, type Key, type Latency, type Loader, type Match, type Policy, type PoolOptions, type PoolStats,
  type PressureEvent, type PressureLevel, type SetOptions, type Ttl, type WrapOptions,
} from 'hypercache';

interface User {
  name: string;
}

const codec: Codec = { type: 128, encode: (value) => Buffer.from(String(value)), decode: (bytes) => bytes.toString() };
const poolOptions: PoolOptions = {
  maxBytes: '64MiB', maxBytesEver: '1GiB', name: 'p', pinLimit: 1n, elevated: 80, high: 90, critical: 95,
  prefault: false, zeroOnFree: true, noHugePages: true, pressureOfUsed: true,
};
using pool = new Pool(poolOptions);
const policy: Policy = 'adaptive';
const options: CacheOptions = {
  maxBytes: '25%', minBytes: 1 << 20, name: 'users', pool, policy, policyOptions: 'a=1', ttl: 1_000, ttlJitter: 5,
  max: 5, maxEntries: 5, maxValueBytes: 10, shards: 4, hashSeed: 1n, codec, filterFpr: 0.01, latency: true,
  leaseTime: 5_000, absentTtl: 100, softTtl: 1, idleTtl: 1, staleIfError: 1, noEarlyRefresh: true,
};
using cache = new Cache<User>(options);

const keys: Key[] = ['a', 1, 1n, Buffer.from('b'), new Uint8Array(1), ['a', 1, [2n]], new RawKey(Buffer.from('c'))];
const user: User | undefined = cache.get('a');
const peeked: User | undefined = cache.peek(keys[0]!);
const text: string | undefined = cache.getString('a');
const buffer: Buffer | undefined = cache.getBuffer('a');
const length: number | undefined = cache.getInto('a', new Uint8Array(8), 4);
const entry: Entry<User> | undefined = cache.getEntry('a', { peek: true });
const bytes: Buffer | undefined = cache.getEntry('a', { raw: true })?.value;
const version: bigint | undefined = entry?.version;
const taken: User | undefined = cache.take('a');
const inFilter: boolean[] = new CuckooFilter({ capacity: 10 }).addMany(['a', 5]).hasMany(new Set<string>());
const many: (User | undefined)[] = cache.getMany(new Set(['a', 'b']));
const left: [number | undefined, number] = [cache.remainingTtl('a'), cache.getRemainingTTL('a')];
const ttl: Ttl = 'keep';
const how: SetOptions = { ttl, softTtl: 5, idleTtl: 5, session: 5n, flags: 1, type: 128 };
const stored: boolean = cache.set('a', { name: 'Ada' }, { ...how, ifVersion: 5n }) && cache.add('a', { name: 'b' }, how) &&
  cache.replace('a', { name: 'c' }) && cache.set('a', undefined);
const count: number = cache.setMany([['a', { name: 'Ada' }]], { ttl: 5 }) + cache.deleteMany(['a']);
const deleted: boolean = cache.delete('a', { ifVersion: 1n });
const sum: number | bigint = cache.incr('n', 1n, { initial: 5, ttl: 10 });
const touched: boolean = cache.touch('a', 5) && cache.has('a');
const match: Match = { prefix: 'user:' };
const removed: number = cache.invalidate(match) + cache.invalidate({ session: 1n }) + cache.invalidate({ glob: '*' }) +
  cache.invalidate({ type: 1 });
const fetchOptions: FetchOptions = { ttl: 5, staleWhileRevalidate: 5, signal: AbortSignal.timeout(5), absentTtl: 1 };
const loader: Loader<User> = async (key, { signal }) => (signal?.aborted ? undefined : { name: String(key) });
const fetched: Promise<User | undefined> = cache.fetch('a', loader, fetchOptions);
const wrapOptions: WrapOptions<[id: number]> = { ...fetchOptions, name: 'user', key: (id) => ['user', id] };
const wrapped: (id: number) => Promise<User> = cache.wrap(async (id: number) => ({ name: String(id) }), wrapOptions);
for (const [key, value] of cache) console.log(key as Key, value.name);
for (const key of cache.keys({ glob: '*' })) console.log(key);
for (const value of cache.values()) console.log(value.name);
for (const [, value] of cache.entries(match)) console.log(value.name);
cache.forEach((value, key, whole) => console.log(value.name, key, whole.size));
const stats: CacheStats = cache.stats();
const config: CacheConfig = cache.config;
const latency: Latency | undefined = cache.latency('get');
const size: Bytes = cache.size;
const resized: boolean = cache.resize('128MiB');
cache.validate();
cache.clear();
cache.destroy();
cache.close();
const closed: boolean = cache.closed;

const level: PressureLevel = pool.pressure;
pool.on('pressure', (event: PressureEvent) => console.log(event.level, event.usedBytes, event.limitBytes));
pool.setThresholds({ elevated: 80 });
const poolStats: PoolStats = pool.stats();
const freed: number = pool.trim('1MiB');

const filterOptions: FilterOptions = { capacity: 5, fpr: 0.01, hashSeed: 1, pool };
const filter: CuckooFilter = new CuckooFilter(filterOptions).add('a').add(1);
const filterStats: FilterStats = filter.stats();
const maybe: boolean = filter.has('a') || filter.delete('a');
cache.setKnownKeys(filter);
const known: boolean[] = [cache.mayExist('a')];
const loaded: Promise<CuckooFilter> = filter.save('x').then(() => CuckooFilter.load('x', { pool }));

const error: Error = new HyperCacheError('HC_ERR_CLOSED', 'closed');
const said: string = metricsText() + versions().version + getInclude() + getLibraryDir() + hypercache.versions().build;

// @ts-expect-error: a key is no object
cache.get({});
// @ts-expect-error: a value is of the cache's type
cache.set('a', 5);
// @ts-expect-error: there is no such option
new Cache({ maxbytes: 5 });
// @ts-expect-error: there is no such policy
new Cache({ maxBytes: 5, policy: 'mru' });
// @ts-expect-error: one kind of match
cache.invalidate({ suffix: 'a' });
// @ts-expect-error: a target is bytes
cache.getInto('a', 'text');

export {
  known,   fetched, wrapped, buffer, bytes, closed, config, count, deleted, error, filterStats, freed, latency, left, length, level, loaded, many,
  maybe, peeked, poolStats, removed, resized, said, size, stats, stored, sum, taken, text, touched, user, version,
};
