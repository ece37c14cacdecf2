import assert from 'node:assert/strict';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { type DownloadOptions, download } from './download.js';
import { chooseProxy, isExemptFromProxy } from './proxy.js';

test('no_proxy: names, sub-domains, ports, addresses, blocks', () => {
  for (const [url, noProxy, expected] of [
    ['http://a.example/', 'a.example', true],
    ['http://b.a.example/', '.a.example', true],
    ['http://b.a.example/', 'a.example', true],
    ['http://ba.example/', 'a.example', false],
    ['http://a.example/', 'a.example:8080', false],
    ['http://a.example:8080/', 'x, a.example:8080', true],
    ['https://a.example/', 'a.example:443', true],
    ['http://10.1.2.3/', '10.0.0.0/8', true],
    ['http://11.1.2.3/', '10.0.0.0/8', false],
    ['http://[::1]/', '::1', true],
    ['http://anything/', '*', true],
    ['http://anything/', '', false],
  ] as const) {
    assert.equal(isExemptFromProxy(new URL(url), noProxy), expected, `${url} with ${noProxy}`);
  }
});

test("apt's proxy settings come before the environment's", () => {
  const none = new Map<string, string>();
  const apt = new Map([
    ['acquire::http::proxy', 'http://apt:3128'],
    ['acquire::http::proxy::direct.example', 'DIRECT'],
    ['acquire::https::proxy::other.example', 'http://other:1'],
  ]);
  const env = { http_proxy: 'http://env:1', HTTPS_PROXY: 'envs:2', NO_PROXY: 'skip.example' };
  const choose = (url: string, options: Map<string, string>): string | undefined =>
    chooseProxy(new URL(url), options, env)?.host;
  assert.equal(choose('http://x.example/', apt), 'apt:3128');
  assert.equal(choose('https://x.example/', apt), 'apt:3128');
  assert.equal(choose('https://other.example/', apt), 'other:1');
  assert.equal(choose('http://direct.example/', apt), undefined);
  assert.equal(choose('http://x.example/', none), 'env:1');
  assert.equal(choose('https://x.example/', none), 'envs:2');
  assert.equal(choose('https://skip.example/', none), undefined);
  assert.throws(() => chooseProxy(new URL('http://x/'), none, { http_proxy: 'socks5://h:1' }), {
    code: 'proxy-unsupported',
  });
  assert.throws(() => chooseProxy(new URL('http://x/'), none, { http_proxy: 'http://' }), { code: 'proxy-invalid' });
});

async function serve(t: TestContext, listener: RequestListener): Promise<{ server: Server; origin: string }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function fetchText(url: string, more: Partial<DownloadOptions> = {}): Promise<string> {
  const chunks: Uint8Array[] = [];
  await download(url, {
    maxBytes: 1000,
    proxyFor: () => undefined,
    silenceMs: 2000,
    onData: (chunk) => void chunks.push(chunk),
    ...more,
  });
  return Buffer.concat(chunks).toString();
}

test('redirects are followed, to a bound', async (t) => {
  const { origin } = await serve(t, (request, response) => {
    if (request.url === '/end') response.end('here');
    else if (request.url === '/start') response.writeHead(302, { location: '/middle' }).end();
    else if (request.url === '/middle') response.writeHead(301, { location: `${origin}/end` }).end();
    else if (request.url === '/loop') response.writeHead(302, { location: '/loop' }).end();
    else if (request.url === '/odd') response.writeHead(302, { location: 'file:///etc/passwd' }).end();
    else response.writeHead(404).end('no');
  });
  assert.equal(await fetchText(`${origin}/start`), 'here');
  await assert.rejects(fetchText(`${origin}/loop`), { code: 'http-redirect' });
  await assert.rejects(fetchText(`${origin}/odd`), { code: 'http-redirect' });
  await assert.rejects(fetchText(`${origin}/absent`), { code: 'http-status', cause: { status: 404 } });
});

test('size, silence, truncation and cancelling give their typed errors', async (t) => {
  const { origin } = await serve(t, (request, response) => {
    if (request.url === '/long') response.end('x'.repeat(2000));
    else if (request.url === '/endless') {
      response.write('x'.repeat(600));
      setTimeout(() => response.write('x'.repeat(600)), 10);
    } else if (request.url === '/short') {
      response.writeHead(200, { 'content-length': 100 });
      response.write('abc');
      setTimeout(() => response.destroy(), 10);
    } else if (request.url === '/silent') response.write('a');
    // '/mute' never answers.
  });
  await assert.rejects(fetchText(`${origin}/long`), { code: 'download-too-large' });
  await assert.rejects(fetchText(`${origin}/endless`), { code: 'download-too-large' });
  await assert.rejects(fetchText(`${origin}/short`), { code: 'download-truncated' });
  await assert.rejects(fetchText(`${origin}/silent`, { silenceMs: 60 }), { code: 'network-timeout' });
  await assert.rejects(fetchText(`${origin}/mute`, { silenceMs: 60 }), { code: 'network-timeout' });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 30);
  await assert.rejects(fetchText(`${origin}/mute`, { signal: controller.signal }), { code: 'aborted' });
  await assert.rejects(fetchText(`${origin}/mute`, { signal: AbortSignal.abort() }), { code: 'aborted' });
  const own = new Error('disk');
  const onData = (): never => {
    throw own;
  };
  await assert.rejects(fetchText(`${origin}/long`, { maxBytes: 5000, onData }), own);
});

test('an unreachable host is named with the reason', async () => {
  await assert.rejects(fetchText('http://127.0.0.1:1/'), {
    code: 'network-unreachable',
    message: /127\.0\.0\.1:1: it refuses/,
  });
});

test('http goes through a proxy in absolute form, with its login, and never shows the password', async (t) => {
  const seen: string[] = [];
  const { origin } = await serve(t, (request, response) => {
    seen.push(
      `${request.url} ${request.headers.host} ${request.headers['proxy-authorization']} ${request.headers.authorization}`,
    );
    response.writeHead(request.url!.endsWith('no') ? 403 : 200).end('by proxy');
  });
  const proxy = new URL(origin);
  [proxy.username, proxy.password] = ['u', 'p%40'];
  const text = await fetchText('http://me:pw@archive.invalid/x?y', { proxyFor: () => proxy });
  assert.equal(text, 'by proxy');
  const basic = (words: string): string => `Basic ${Buffer.from(words).toString('base64')}`;
  assert.deepEqual(seen, [`http://archive.invalid/x?y archive.invalid ${basic('u:p@')} ${basic('me:pw')}`]);
  await assert.rejects(fetchText('http://me:pw@archive.invalid/no', { proxyFor: () => proxy }), (error: Error) => {
    assert.match(error.message, /^http:\/\/archive\.invalid\/no cannot be fetched: status 403\.$/);
    return true;
  });
});

test('https asks a proxy for a tunnel to the host', async (t) => {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const end = createTcpServer((socket) => socket.end('this is not TLS'));
  await new Promise<void>((resolve) => end.listen(0, '127.0.0.1', resolve));
  const { server, origin } = await serve(t, () => {});
  server.on('connect', (request, client: Socket) => {
    asked.push(request.url!);
    if (request.url === 'forbidden.invalid:443') {
      client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return;
    }
    const upstream = connect((end.address() as AddressInfo).port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    for (const socket of [client, upstream]) {
      socket.on('error', () => {});
      sockets.add(socket);
    }
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    end.close();
  });
  const proxyFor = (): URL => new URL(origin);
  await assert.rejects(fetchText('https://archive.invalid/x', { proxyFor }), { code: 'network-unreachable' });
  await assert.rejects(fetchText('https://forbidden.invalid/x', { proxyFor }), { code: 'http-status' });
  assert.deepEqual(asked, ['archive.invalid:443', 'forbidden.invalid:443']);
});
