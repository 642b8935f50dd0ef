// The programs in examples/node: each checks itself.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), '../examples');
const NEEDS = { 'keyv.mjs': 'keyv' };
const withoutTools = process.env.HYPERCACHE_TEST_WITHOUT_TOOLS !== undefined;
const programs = readdirSync(folder).filter((name) => name.endsWith('.mjs'));

test('there are examples', () => assert.ok(programs.length >= 3));

for (const name of programs) {
  const skip = withoutTools && name in NEEDS ? `${NEEDS[name]} is not installed` : false;
  test(name, { skip }, async () => {
    const said = await new Promise((resolve, reject) => {
      execFile(process.execPath, [path.join(folder, name)], { timeout: 60_000 }, (error, stdout, stderr) => {
        if (error !== null || stderr !== '') reject(new Error(`${name}\n${stdout}\n${stderr}`, { cause: error }));
        else resolve(stdout);
      });
    });
    assert.match(said, /^[a-z]+: /);
  });
}
