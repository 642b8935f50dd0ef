// The types as CommonJS sees them.

import hypercache = require('hypercache');

const cache = new hypercache.Cache<number>({ maxBytes: '8MiB' });
const value: number | undefined = cache.get('a');
export = value;
