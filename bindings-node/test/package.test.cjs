// What is installed: both entries, the library, no script.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const hypercache = require('hypercache');

const NAMES = [
  'Cache', 'CuckooFilter', 'HyperCacheError', 'Pool', 'RawKey', 'getInclude', 'getLibraryDir', 'metricsText', 'versions',
];

test('both entries give the same classes', async () => {
  const module = await import('hypercache');
  assert.deepEqual(Object.keys(hypercache).sort(), NAMES);
  assert.deepEqual(Object.keys(module).sort(), [...NAMES, 'default'].sort());
  for (const name of NAMES) assert.equal(module[name], hypercache[name], name);
  assert.equal(module.default, hypercache);
});

test('nothing runs and nothing is fetched when it is installed', () => {
  for (const name of ['hypercache', '@hypercache/linux-x64-gnu']) {
    const folder = path.dirname(require.resolve(`${name}/package.json`));
    const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    assert.equal(manifest.scripts, undefined);
    assert.equal(manifest.dependencies, undefined);
    assert.equal(manifest.gypfile, undefined);
  }
});

test('the library is loaded once, by its name, from the package', () => {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const loaded = new Set(maps.split('\n').filter((line) => line.includes('libhypercache.so')).map((line) => line.split(' ').at(-1)));
  assert.deepEqual([...loaded], [path.join(hypercache.getLibraryDir(), 'libhypercache.so.0')]);
});

test('without the package of the platform it says what is missing', () => {
  const program = `
    const Module = require('node:module');
    const resolve = Module._resolveFilename;
    Module._resolveFilename = function (name, ...rest) {
      if (name.startsWith('@hypercache/')) {
        throw Object.assign(new Error("Cannot find module '" + name + "'"), { code: 'MODULE_NOT_FOUND' });
      }
      return resolve.call(this, name, ...rest);
    };
    try { require('hypercache'); } catch (error) { console.log(error.message); }
  `;
  const said = execFileSync(process.execPath, ['-e', program], { cwd: __dirname, encoding: 'utf8' });
  assert.match(said, /needs the package @hypercache\/linux-x64-gnu, which is not installed/);
});

