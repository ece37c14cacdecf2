/** Rules that the compiler does not know: which layer may import which, who may name the host, what documents may say. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const src = join(root, 'src');
const sources = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(
  (name) => name.endsWith('.ts') && !name.endsWith('.d.ts'),
);
const isTest = (name: string) => name.endsWith('.test.ts') || name.startsWith('dev/') || /\/testing\//.test(name);

/** Layer of a source file: its directory, two deep below host/. */
function layerOf(name: string): string {
  const parts = name.split('/');
  return parts[0] === 'host' ? `host/${parts[1]}` : parts[0];
}

/** What each layer's tsconfig.json lets it import. */
function allowedImports(layer: string): Set<string> {
  const config = JSON.parse(readFileSync(join(src, layer, 'tsconfig.json'), 'utf8')) as {
    references: { path: string }[];
  };
  return new Set([layer, ...config.references.map(({ path }) => relative(src, resolve(src, layer, path)))]);
}

function importsOf(name: string): string[] {
  const text = readFileSync(join(src, name), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]);
}

test('imports go down only', () => {
  for (const name of sources) {
    if (isTest(name)) continue;
    const allowed = allowedImports(layerOf(name));
    for (const specifier of importsOf(name)) {
      if (!specifier.startsWith('.')) continue;
      const target = layerOf(relative(src, resolve(src, dirname(name), specifier)));
      assert.ok(allowed.has(target), `${name} imports ${specifier}: ${layerOf(name)} may not see ${target}`);
    }
  }
});

test('only host/node and what stands on it name Node', () => {
  const free = new Set(['host/node', 'cli', 'distro', 'vmm']);
  for (const name of sources) {
    if (isTest(name) || free.has(layerOf(name))) continue;
    for (const specifier of importsOf(name)) assert.ok(!/^node:/.test(specifier), `${name} imports ${specifier}`);
  }
});

test('nothing outside host/node names Linux', () => {
  const forbidden = /process\.platform|['"`]\/(proc|sys|dev)\//;
  for (const name of sources) {
    if (isTest(name) || name.startsWith('host/node/')) continue;
    // The guest's own /init script and files are about the guest.
    if (name.startsWith('distro/guest-') || name === 'distro/initramfs.ts') continue;
    const text = readFileSync(join(src, name), 'utf8');
    assert.ok(!forbidden.test(text), `${name} names the host's operating system`);
  }
});

test('documents name files that exist', () => {
  for (const document of ['README.md', 'ARCHITECTURE.md']) {
    const text = readFileSync(join(root, document), 'utf8');
    for (const [, path] of text.matchAll(/`((?:src|examples|keys)\/[\w./-]*)`/g)) {
      assert.ok(existsSync(join(root, path)), `${document} names ${path}, which is not there`);
    }
  }
});
