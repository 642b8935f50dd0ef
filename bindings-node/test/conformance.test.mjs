// The behaviour list in conformance/, which every language runs.
//
// JavaScript has no views and no drafts: it could write to memory that it is only to read. Claims and
// leases it has as `fetch`, which has tests of its own. Behaviours that are about these are left out,
// by name or by group, so that another one cannot be left out unnoticed.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { Cache, CuckooFilter, Pool, RawKey } from 'hypercache';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), '../conformance');

const WITHOUT = new Set(['unpin', 'reserve', 'commit', 'abandon', 'claim', 'lease_put', 'lease_drop']);
const LEFT_OUT = new Set([
  'reads/a-view-does-not-change',
  'writes/drafts-publish-at-commit',
  'writes/drafts-are-judged-at-commit',
]);

const STORE = {
  policy: 'policy',
  policy_options: 'policyOptions',
  value_len_max: 'maxValueBytes',
  default_ttl_ms: 'ttl',
  limit_entries: 'maxEntries',
  limit_bytes: 'maxBytes',
  shards: 'shards',
  jitter_pct: 'ttlJitter',
  hash_seed: 'hashSeed',
  soft_ttl_ms: 'softTtl',
  idle_ttl_ms: 'idleTtl',
  stale_if_error_ms: 'staleIfError',
  negative_ttl_ms: 'absentTtl',
  lease_ms: 'leaseTime',
};

const FILTER = { capacity: 'capacity', fpr: 'fpr', hash_seed: 'hashSeed' };

function filterOptions(fields) {
  return Object.fromEntries(Object.entries(fields).map(([field, value]) => {
    assert.ok(field in FILTER, field);
    return [FILTER[field], value];
  }));
}

function bytes(value) {
  if (typeof value === 'string') return Buffer.from(value);
  if ('hex' in value) return Buffer.from(value.hex, 'hex');
  return Buffer.from(value.repeat.repeat(value.times));
}

/** A text key as a string, as programs write it; other bytes as they are. */
function keyOf(value) {
  if (typeof value === 'string') return value;
  const raw = bytes(value);
  const text = raw.toString();
  return Buffer.from(text).equals(raw) ? text : new RawKey(raw);
}

const bytesOfKey = (key) => (key instanceof RawKey ? key.bytes : Buffer.from(key)).toString('hex');

const TTLS = { default: undefined, keep: 'keep', never: Infinity };
const ttlOf = (ttl) => (typeof ttl === 'string' ? TTLS[ttl] : ttl);

const NAMES = { true: 'HC_OK', false: 'HC_NOT_FOUND' };

/** What a call came to, as a status of the C interface. */
function status(call, nameOf = (result) => NAMES[result] ?? 'HC_OK') {
  try {
    const result = call();
    return [nameOf(result), result];
  } catch (error) {
    assert.equal(typeof error.code, 'string', String(error.stack));
    return [error.code, error];
  }
}

function compareStats(stats, { op, ...fields }) {
  for (const [name, value] of Object.entries(fields)) {
    const spelled = name.replaceAll(/_(.)/g, (_, letter) => letter.toUpperCase());
    assert.equal(Number(stats[spelled]), value, `${op}: ${name}`);
  }
  return 'HC_OK';
}

class Run {
  versions = new Map();

  constructor(cache, filter) {
    this.cache = cache;
    this.filter = filter;
  }

  read(key, step, take) {
    const { cap } = step;
    if (cap !== undefined) {
      assert.ok(!take);
      const target = Buffer.alloc(cap);
      const [name, result] = status(() => this.cache.getInto(key, target), (length) => (length === undefined ? 'HC_NOT_FOUND' : 'HC_OK'));
      if (name === 'HC_SMALL_BUFFER') return [name, { len: Number(/takes (\d+) bytes/.exec(result.message)[1]) }];
      return [name, { value: target.subarray(0, result), len: result }];
    }
    const [name, found] = status(
      () => {
        const entry = this.cache.getEntry(key, { raw: true, peek: take });
        if (take) this.cache.take(key);
        return entry;
      },
      (entry) => (entry === undefined ? 'HC_NOT_FOUND' : 'HC_OK'),
    );
    return [name, name === 'HC_OK' ? { ...found, len: found.bytes } : {}];
  }

  compare(step, found) {
    if (step.save_version !== undefined) this.versions.set(step.save_version, found.version);
    for (const field of ['len', 'type', 'flags', 'session']) {
      if (step[field] !== undefined) assert.equal(Number(found[field]), step[field], field);
    }
    if (step.value !== undefined) assert.deepEqual(found.value, bytes(step.value));
    if (step.version !== undefined) assert.equal(found.version, this.versions.get(step.version));
    if (step.ttl_ms === 'never') {
      assert.equal(found.ttl, Infinity);
    } else if (step.ttl_ms !== undefined) {
      const [least, most] = step.ttl_ms;
      assert.ok(found.ttl >= least && found.ttl <= most, `${found.ttl} ms are left`);
    }
  }

  get(step) {
    const [name, found] = this.read(keyOf(step.key), step, false);
    if (name === 'HC_OK' || name === 'HC_SMALL_BUFFER') this.compare(step, found);
    return name;
  }

  peek(step) {
    const entry = this.cache.getEntry(keyOf(step.key), { peek: true, raw: true });
    if (entry === undefined) return 'HC_NOT_FOUND';
    this.compare(step, { ...entry, len: entry.bytes });
    return 'HC_OK';
  }

  take(step) {
    // Here a value is taken whole; there is no buffer that could be too small.
    if (step.status === 'HC_SMALL_BUFFER') return step.status;
    const { cap, ...whole } = step;
    const [name, found] = this.read(keyOf(step.key), whole, true);
    if (name === 'HC_OK') this.compare(whole, found);
    return name;
  }

  set(step) {
    return status(() => this.cache.set(keyOf(step.key), bytes(step.value), { ttl: ttlOf(step.ttl_ms) }))[0];
  }

  put(step) {
    const key = keyOf(step.key);
    const options = { ttl: ttlOf(step.ttl_ms), type: step.type, flags: step.flags, session: step.session, softTtl: step.soft_ttl_ms, idleTtl: step.idle_ttl_ms };
    const mode = step.mode ?? 'set';
    const refused = { set: 'HC_NOT_ADMITTED', add: 'HC_EXISTS', replace: 'HC_NOT_FOUND' }[mode];
    if (mode === 'cas') options.ifVersion = this.versions.get(step.version);
    const [name] = status(
      () => this.cache[mode === 'cas' ? 'set' : mode](key, bytes(step.value), options),
      (stored) => (stored ? 'HC_OK' : (refused ?? (this.cache.has(key) ? 'HC_CONFLICT' : 'HC_NOT_FOUND'))),
    );
    if (step.save_version !== undefined) {
      this.versions.set(step.save_version, this.cache.getEntry(key, { peek: true }).version);
    }
    return name;
  }

  /** That there is nothing to pin can be told without views. */
  pin(step) {
    assert.equal(step.status, 'HC_NOT_FOUND');
    return this.peek(step);
  }

  contains(step) {
    return status(() => this.cache.has(keyOf(step.key)))[0];
  }

  may_exist(step) {
    return status(() => this.cache.mayExist(keyOf(step.key)))[0];
  }

  known_keys() {
    return status(() => this.cache.setKnownKeys(this.filter))[0];
  }

  no_known_keys() {
    return status(() => this.cache.setKnownKeys(undefined))[0];
  }

  /** The same call so many times; what the last one came to. */
  repeated(step, call) {
    let name;
    for (let i = 0; i < (step.times ?? 1); i++) [name] = status(() => call(keyOf(step.key)));
    return name;
  }

  filter_add(step) {
    return this.repeated(step, (key) => this.filter.add(key));
  }

  filter_remove(step) {
    return this.repeated(step, (key) => this.filter.delete(key));
  }

  filter_contains(step) {
    return status(() => this.filter.has(keyOf(step.key)))[0];
  }

  filter_contains_many(step) {
    assert.deepEqual(step.keys.map((key) => NAMES[this.filter.has(keyOf(key))]), step.statuses);
    return step.statuses.every((name) => name === 'HC_OK') ? 'HC_OK' : 'HC_PARTIAL';
  }

  filter_clear() {
    return status(() => this.filter.clear())[0];
  }

  async filter_reload() {
    const place = mkdtempSync(path.join(tmpdir(), 'hypercache-'));
    try {
      const file = path.join(place, 'filter');
      await this.filter.save(file);
      this.filter.close();
      this.filter = await CuckooFilter.load(file);
    } finally {
      rmSync(place, { recursive: true });
    }
    return 'HC_OK';
  }

  filter_stats(step) {
    return compareStats(this.filter.stats(), step);
  }

  delete(step) {
    return status(() => this.cache.delete(keyOf(step.key)))[0];
  }

  delete_if(step) {
    const key = keyOf(step.key);
    const options = { ifVersion: this.versions.get(step.version) };
    const refused = () => (this.cache.has(key) ? 'HC_CONFLICT' : 'HC_NOT_FOUND');
    return status(() => this.cache.delete(key, options), (deleted) => (deleted ? 'HC_OK' : refused()))[0];
  }

  touch(step) {
    return status(() => this.cache.touch(keyOf(step.key), ttlOf(step.ttl_ms)))[0];
  }

  incr(step) {
    const integer = (value) => (Number.isSafeInteger(value) ? value : BigInt(value));
    const { delta, initial } = step;
    const options = { initial: integer(initial), ttl: ttlOf(step.ttl_ms) };
    const [name, sum] = status(() => this.cache.incr(keyOf(step.key), integer(delta), options), () => 'HC_OK');
    if (step.sum !== undefined) assert.equal(Number(sum), step.sum);
    return name;
  }

  get_many(step) {
    const values = this.cache.getMany(step.keys.map(keyOf));
    // There is no buffer to fill: what would not fit one is here all the same.
    const fits = (_, i) => step.statuses[i] !== 'HC_SMALL_BUFFER';
    const wanted = step.values.map((value) => (value === null ? undefined : bytes(value)));
    assert.deepEqual(values.filter(fits), wanted.filter(fits));
    return step.status ?? 'HC_OK';
  }

  put_many(step) {
    const entries = step.entries.map(({ key, value }) => [keyOf(key), bytes(value)]);
    const mode = step.mode ?? 'set';
    if (mode === 'set') {
      assert.equal(this.cache.setMany(entries), step.statuses.filter((name) => name === 'HC_OK').length);
      return step.status ?? 'HC_OK';
    }
    const refused = { add: 'HC_EXISTS', replace: 'HC_NOT_FOUND' }[mode];
    const statuses = entries.map(([key, value]) => (this.cache[mode](key, value) ? 'HC_OK' : refused));
    assert.deepEqual(statuses, step.statuses);
    return statuses.every((name) => name === 'HC_OK') ? 'HC_OK' : 'HC_PARTIAL';
  }

  delete_many(step) {
    assert.equal(this.cache.deleteMany(step.keys.map(keyOf)), step.deleted);
    return 'HC_OK';
  }

  match(step) {
    switch (step.match) {
      case 'all':
        return { prefix: '' };
      case 'prefix':
      case 'glob':
        return { [step.match]: bytes(step.pattern) };
      default:
        return { [step.match]: step[step.match] };
    }
  }

  invalidate(step) {
    const removed = this.cache.invalidate(this.match(step));
    if (step.removed !== undefined) assert.equal(removed, step.removed);
    return 'HC_OK';
  }

  scan(step) {
    const keys = [...this.cache.keys(step.match === 'all' ? undefined : this.match(step))].map(bytesOfKey);
    assert.equal(new Set(keys).size, keys.length);
    assert.deepEqual(keys.sort(), step.keys.map(keyOf).map(bytesOfKey).sort());
    return 'HC_OK';
  }

  clear() {
    return status(() => this.cache.clear())[0];
  }

  destroy() {
    return status(() => this.cache.destroy())[0];
  }

  stats(step) {
    return compareStats(this.cache.stats(), step);
  }

  async sleep(step) {
    await sleep(step.ms);
    return 'HC_OK';
  }
}

const leftOut = new Set();
let ran = 0;

for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
  const { group, behaviours } = JSON.parse(readFileSync(path.join(folder, file), 'utf8'));
  for (const { name, says, pool: ofPool, store = {}, filter: ofFilter, steps } of behaviours) {
    if (steps.some(({ op }) => WITHOUT.has(op))) {
      if (group !== 'leases') leftOut.add(`${group}/${name}`);
      continue;
    }
    ran += 1;
    test(`${group}/${name}: ${says}`, async () => {
      assert.equal(ofPool, undefined, 'fields of the pool are not read here yet');
      const pool = new Pool({ maxBytes: '8MiB' });
      const options = Object.entries(store).map(([field, value]) => {
        assert.ok(field in STORE, field);
        return [STORE[field], value];
      });
      const cache = new Cache({ pool, ...Object.fromEntries(options) });
      const filter = ofFilter && new CuckooFilter({ pool, ...filterOptions(ofFilter) });
      const run = new Run(cache, filter);
      for (const [index, step] of steps.entries()) {
        const where = `step ${index + 1}: ${JSON.stringify(step)}`;
        assert.equal(typeof run[step.op], 'function', where);
        try {
          assert.equal(await run[step.op](step), step.status ?? 'HC_OK');
        } catch (error) {
          error.message = `${where}\n${error.message}`;
          throw error;
        }
      }
      pool.validate();
      run.filter?.validate();
      run.filter?.close();
      cache.close();
      pool.close();
    });
  }
}

test('nothing else is left out', () => {
  assert.deepEqual(leftOut, LEFT_OUT);
  assert.ok(ran >= 30, `${ran} behaviours`);
});
