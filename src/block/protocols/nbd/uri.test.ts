/** Names of NBD disks: the examples of the URI specification (doc/uri.md) and of QEMU's manual. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { formatNbdName, parseNbdName } from './uri.js';

const inet = (host: string, port: string, name?: string) => ({
  'server.type': 'inet',
  'server.host': host,
  'server.port': port,
  ...(name === undefined ? {} : { export: name }),
});
const unix = (path: string, name?: string) => ({
  'server.type': 'unix',
  'server.path': path,
  ...(name === undefined ? {} : { export: name }),
});

test('names become options', () => {
  assert.deepEqual(parseNbdName('nbd://example.com'), inet('example.com', '10809'));
  assert.deepEqual(parseNbdName('nbd://example.com/'), inet('example.com', '10809'));
  assert.deepEqual(parseNbdName('nbd://localhost:1234/a%20b'), inet('localhost', '1234', 'a b'));
  assert.deepEqual(parseNbdName('nbd+tcp://[::1]:2/x/y'), inet('::1', '2', 'x/y'));
  assert.deepEqual(parseNbdName('nbd://'), inet('localhost', '10809'));
  assert.deepEqual(parseNbdName('nbd+unix:///name?socket=/tmp/nbd.sock'), unix('/tmp/nbd.sock', 'name'));
  // A name may begin with a slash of its own.
  assert.deepEqual(parseNbdName('nbd+unix:////name?socket=/s'), unix('/s', '/name'));
  assert.deepEqual(parseNbdName('nbds://alice@example.com/?tls-psk-file=/k'), {
    ...inet('example.com', '10809'),
    tls: true,
    'tls-psk-file': '/k',
    'tls-username': 'alice',
  });
  assert.deepEqual(parseNbdName('nbd:localhost:10809'), inet('localhost', '10809'));
  assert.deepEqual(parseNbdName('nbd:localhost:10809:exportname=a:b'), inet('localhost', '10809', 'a:b'));
  assert.deepEqual(parseNbdName('nbd:[::1]:10:exportname=x'), inet('::1', '10', 'x'));
  assert.deepEqual(parseNbdName('nbd:unix:/tmp/s:exportname=x'), unix('/tmp/s', 'x'));
});

test('what is no name is refused', () => {
  for (const name of [
    'nbd+unix:///x',
    'nbd+unix://host/x?socket=/s',
    'nbd://host:port/x',
    'nbd://host/%zz',
    'nbd://host/x?unknown=1',
    'nbd+udp://host/x',
    'nbd:localhost',
    'nbd:',
  ])
    assert.throws(() => parseNbdName(name), { name: 'BlockError', code: 'EINVAL' }, name);
});

test('options become the names that QEMU prints', () => {
  assert.equal(formatNbdName(inet('localhost', '1')), 'nbd://localhost:1');
  assert.equal(formatNbdName(inet('::1', '1', 'x')), 'nbd://[::1]:1/x');
  assert.equal(formatNbdName(unix('/s', 'a name')), 'nbd+unix:///a name?socket=/s');
  assert.equal(formatNbdName(unix('/s')), 'nbd+unix://?socket=/s');
  assert.deepEqual(parseNbdName('nbd+unix://?socket=/s'), parseNbdName('nbd+unix:///?socket=/s'));
  assert.equal(formatNbdName({ ...unix('/s'), 'tls-creds': 't' }), undefined);
});
