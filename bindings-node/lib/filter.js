'use strict';

const { native, abandoned, FILTER, MOST } = require('./native.js');
const { joinKeys } = require('./joined.js');
const { checkIterable, checkOptions, names, refuse } = require('./options.js');
const { Pool } = require('./pool.js');
const { Uncloneable } = require('./uncloneable.js');

const OPTIONS = names('capacity', 'fpr', 'hashSeed', 'pool');

const poolOf = (options) => (options.pool === undefined ? undefined : Pool.handleOf(options.pool));

/** The keys in lists that one call takes. */
function* batches(keys) {
  checkIterable('keys', keys, 'keys');
  const list = Array.from(keys);
  for (let at = 0; at < list.length; at += MOST) yield list.slice(at, at + MOST);
}

/** The number of a filter that was loaded, for the constructor. */
class Loaded {
  constructor(id) {
    this.id = id;
  }
}

/** What a set certainly does not contain. */
class CuckooFilter extends Uncloneable {
  #id = 0;

  constructor(options) {
    super();
    if (options instanceof Loaded) {
      this.#id = options.id;
    } else {
      checkOptions('CuckooFilter', options, OPTIONS);
      this.#id = native.openFilter(poolOf(options), options);
    }
    abandoned.register(this, [FILTER, this.#id], this);
  }

  static async load(path, options = {}) {
    checkOptions('CuckooFilter.load', options, OPTIONS);
    return new this(new Loaded(await native.filterLoad(path, poolOf(options), options)));
  }

  /** For caches that take it as the keys of their source. */
  static handleOf(filter) {
    if (filter === null || typeof filter !== 'object' || !(#id in filter)) refuse('filter', filter, 'a CuckooFilter');
    return filter.#id;
  }

  add(key) {
    native.filterAdd(this.#id, key);
    return this;
  }

  addMany(keys) {
    for (const batch of batches(keys)) native.filterAddMany(this.#id, ...batch);
    return this;
  }

  hasMany(keys) {
    const found = [];
    for (const batch of batches(keys)) {
      const joined = joinKeys(batch, batch.length);
      const said = joined === undefined ? undefined : native.filterHasManyText(this.#id, joined, batch.length);
      found.push(...(said ?? native.filterHasMany(this.#id, ...batch)));
    }
    return found;
  }

  has(key) {
    return native.filterHas(this.#id, key);
  }

  delete(key) {
    return native.filterDelete(this.#id, key) === 0;
  }

  clear() {
    native.filterClear(this.#id);
  }

  stats() {
    return native.filterStats(this.#id);
  }

  async save(path) {
    await native.filterSave(this.#id, path);
  }

  validate() {
    native.validate(FILTER, this.#id);
  }

  get closed() {
    return this.#id === 0;
  }

  close() {
    if (this.#id === 0) return;
    abandoned.unregister(this);
    native.release(FILTER, this.#id);
    this.#id = 0;
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.close();
  }
}

module.exports = { CuckooFilter };
