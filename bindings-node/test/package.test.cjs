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

test('another addon on the same library sees the same store', () => {
  const cache = new hypercache.Cache({ name: 'two addons', maxBytes: '8MiB' });
  cache.set('text', 'written here');
  cache.set('number', 2 ** 40);
  const other = require('../floor.node');
  assert.equal(other.open('two addons'), true);
  assert.equal(other.getString('text'), 'written here');
  assert.equal(other.getNumber('number'), 2 ** 40);
  assert.equal(other.has('none'), false);
  assert.equal(cache.stats().hits, 2);
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

test('on other platforms it says which ones there are', () => {
  const set = (name, value) => `Object.defineProperty(process, '${name}', { value: '${value}' });`;
  const missing = `
    const Module = require('node:module');
    const resolve = Module._resolveFilename;
    Module._resolveFilename = function (name, ...rest) {
      if (name.startsWith('@hypercache/')) throw new Error('cannot relocate it');
      return resolve.call(this, name, ...rest);
    };
  `;
  const musl = "const report = process.report.getReport(); delete report.header.glibcVersionRuntime; process.report.getReport = () => report;";
  const cases = [
    [set('arch', 'arm64'), 'linux-arm64-gnu'], [set('platform', 'darwin'), 'darwin-x64'], [musl + missing, 'linux-x64-musl'],
    [set('platform', 'win32') + set('arch', 'arm64'), 'win32-arm64'],
  ];
  for (const [program, platform] of cases) {
    const text = `${program} try { require('hypercache'); } catch (error) { console.log(error.message); }`;
    const said = execFileSync(process.execPath, ['-e', text], { cwd: __dirname, encoding: 'utf8' });
    assert.equal(said, `hypercache has no package for ${platform}; there is one for linux-x64-gnu (64-bit Linux with glibc on x64)\n`);
  }
  const broken = `${missing} try { require('hypercache'); } catch (error) { console.log(error.message); }`;
  const said = execFileSync(process.execPath, ['-e', broken], { cwd: __dirname, encoding: 'utf8' });
  assert.equal(said, 'hypercache cannot load @hypercache/linux-x64-gnu: cannot relocate it\n');
});

test('evaluated twice, both copies work', async () => {
  const entry = require.resolve('hypercache');
  const folder = path.dirname(entry);
  for (const file of Object.keys(require.cache)) if (file.startsWith(folder)) delete require.cache[file];
  const again = require('hypercache');
  assert.notEqual(again.Cache, hypercache.Cache);
  const [first, second] = [hypercache, again].map(({ Cache }) => new Cache({ name: 'twice', maxBytes: '8MiB' }));
  for (let i = 0; i < 1_000; i++) {
    first.set(i, Buffer.from(`first ${i}`));
    second.set(['o', i], { i });
    assert.deepEqual(second.get(i), Buffer.from(`first ${i}`));
    assert.deepEqual(first.get(['o', i]), { i });
    assert.deepEqual(first.getMany([i, ['o', i]]), [Buffer.from(`first ${i}`), { i }]);
  }
  const slow = () => new Promise((resolve) => setTimeout(resolve, 30, 'loaded'));
  assert.deepEqual(await Promise.all([first, second, first].map((cache) => cache.fetch('k', slow))), Array(3).fill('loaded'));
  assert.equal(first.stats().leases, 1);
  first.close();
  second.close();
});

test('in a context of its own', () => {
  const vm = require('node:vm');
  const cache = new hypercache.Cache({ maxBytes: '8MiB' });
  cache.set('k', Buffer.from('bytes'));
  const context = vm.createContext({ cache });
  assert.deepEqual(vm.runInContext("cache.set('a', new Uint8Array([1, 2])); cache.get('a')", context), Buffer.from([1, 2]));
  assert.deepEqual(vm.runInContext("cache.get('k')", context), Buffer.from('bytes'));
  assert.equal(vm.runInContext("cache.set('t', new Uint8Array([1]), { type: 200 })", context), true);
  cache.close();
});
