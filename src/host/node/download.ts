/**
 * HTTP/1.1 GET over node:http and node:https: through proxies (absolute form for http, CONNECT for https, RFC 9110
 * sections 7.1 and 9.3.6), with bounded redirects, size and silence. The body is handed on as it comes; what it must hash to
 * is the caller's business.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { isIP } from 'node:net';
import * as tls from 'node:tls';
import { VringError } from '../../base/errors.js';

export interface DownloadOptions {
  /** A body longer than this is refused. */
  readonly maxBytes: number;
  readonly proxyFor: (url: URL) => URL | undefined;
  /** `Authorization` for a URL, without its scheme word's details: user and password. */
  readonly loginFor?: ((url: URL) => { login: string; password: string } | undefined) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Time without a byte, and for the connection, after which the server is held dead. */
  readonly silenceMs?: number | undefined;
  readonly onData: (chunk: Uint8Array, totalBytes: number | undefined) => void | Promise<void>;
}

const redirectLimit = 5;

function authorization(login: string, password: string): string {
  return `Basic ${Buffer.from(`${login}:${password}`).toString('base64')}`;
}

function userInfo(url: URL): string | undefined {
  if (url.username === '') return undefined;
  return authorization(decodeURIComponent(url.username), decodeURIComponent(url.password));
}

/** A URL for a message: never with a password. */
export function printableUrl(url: URL): string {
  const copy = new URL(url);
  copy.username = copy.password = '';
  return copy.href;
}

const reasons: Record<string, string> = {
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be looked up now',
  ECONNREFUSED: 'it refuses the connection',
  ECONNRESET: 'it broke the connection',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no network',
  ETIMEDOUT: 'it does not answer',
  EPIPE: 'it broke the connection',
};

function unreachable(url: URL, error: unknown): VringError {
  if (error instanceof VringError) return error;
  // With several addresses node gives one error that holds one per address.
  const first = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
  const code = (first as NodeJS.ErrnoException).code ?? '';
  const why = reasons[code] ?? ((first as Error).message || code);
  return new VringError('network-unreachable', `Cannot fetch from ${url.host}: ${why}.`, { cause: error });
}

function aborted(signal: AbortSignal): VringError {
  return new VringError('aborted', 'The download was cancelled.', { cause: signal.reason });
}

/** Opens a tunnel through `proxy` and resolves with a TLS socket that has checked the certificate of `url`. */
function openTunnel(url: URL, proxy: URL, options: DownloadOptions, silenceMs: number): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const target = `${url.hostname}:${url.port || 443}`;
    const headers: http.OutgoingHttpHeaders = { host: target };
    const login = userInfo(proxy);
    if (login !== undefined) headers['proxy-authorization'] = login;
    const request = (proxy.protocol === 'https:' ? https : http).request({
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
      method: 'CONNECT',
      path: target,
      headers,
      agent: false,
      timeout: silenceMs,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    request.once('timeout', () =>
      request.destroy(new VringError('network-timeout', `The proxy ${proxy.host} does not answer.`)),
    );
    request.once('error', (error) => reject(unreachable(proxy, error)));
    request.once('connect', (response, socket) => {
      if (response.statusCode !== 200) {
        socket.destroy();
        reject(
          new VringError('http-status', `The proxy ${proxy.host} refuses ${target}: status ${response.statusCode}.`),
        );
        return;
      }
      const host = url.hostname.replace(/^\[|\]$/g, '');
      const secure = tls.connect({ socket, ...(isIP(host) === 0 ? { servername: host } : {}) });
      secure.once('secureConnect', () => resolve(secure));
      secure.once('error', (error) => reject(unreachable(url, error)));
    });
    request.end();
  });
}

async function openResponse(url: URL, options: DownloadOptions, silenceMs: number): Promise<http.IncomingMessage> {
  const proxy = options.proxyFor(url);
  const headers: http.OutgoingHttpHeaders = {
    host: url.host,
    'user-agent': 'vring',
    accept: '*/*',
    connection: 'close',
  };
  const known = options.loginFor?.(url);
  const login = userInfo(url) ?? (known === undefined ? undefined : authorization(known.login, known.password));
  if (login !== undefined) headers['authorization'] = login;
  const common = { method: 'GET', headers, agent: false as const, timeout: silenceMs };
  const path = url.pathname + url.search;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const host = url.hostname.replace(/^\[|\]$/g, '');
  let request: http.ClientRequest;
  if (proxy !== undefined && url.protocol === 'https:') {
    const socket = await openTunnel(url, proxy, options, silenceMs);
    request = https.request({ ...common, ...signal, host, path, createConnection: () => socket });
  } else if (proxy !== undefined) {
    const proxyLogin = userInfo(proxy);
    if (proxyLogin !== undefined) headers['proxy-authorization'] = proxyLogin;
    request = (proxy.protocol === 'https:' ? https : http).request({
      ...common,
      ...signal,
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
      path: printableUrl(url),
    });
  } else {
    const port = url.port || (url.protocol === 'https:' ? 443 : 80);
    request = (url.protocol === 'https:' ? https : http).request({ ...common, ...signal, host, port, path });
  }
  return await new Promise((resolve, reject) => {
    request.once('timeout', () => request.destroy(new VringError('network-timeout', `${url.host} does not answer.`)));
    request.once('error', (error) => reject(unreachable(proxy ?? url, error)));
    request.once('response', (response) => {
      request.removeAllListeners('timeout');
      response.setTimeout(silenceMs, () =>
        response.destroy(
          new VringError('network-timeout', `${url.host} fell silent in the middle of ${url.pathname}.`),
        ),
      );
      resolve(response);
    });
    request.end();
  });
}

/**
 * Fetches `address` and hands its body on chunk by chunk. Errors: `network-unreachable`, `network-timeout`, `http-status`
 * (with `status` in `cause`), `http-redirect`, `download-too-large`, `download-truncated`, `aborted`.
 */
export async function download(address: string, options: DownloadOptions): Promise<{ url: string; bytes: number }> {
  const silenceMs = options.silenceMs ?? 30_000;
  let url = new URL(address);
  for (let redirects = 0; ; redirects++) {
    if (options.signal?.aborted) throw aborted(options.signal);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      throw new VringError('http-redirect', `${printableUrl(url)} is neither http nor https.`);
    }
    let response: http.IncomingMessage;
    try {
      response = await openResponse(url, options, silenceMs);
    } catch (error) {
      if (options.signal?.aborted) throw aborted(options.signal);
      throw error;
    }
    try {
      const status = response.statusCode ?? 0;
      const { location } = response.headers;
      if ([301, 302, 303, 307, 308].includes(status) && location !== undefined) {
        if (redirects === redirectLimit) {
          throw new VringError('http-redirect', `${printableUrl(url)} is redirected more than ${redirectLimit} times.`);
        }
        const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
        if (next === undefined)
          throw new VringError('http-redirect', `${url.host} redirects to something that is no URL.`);
        if (url.protocol === 'https:' && next.protocol === 'http:') {
          throw new VringError(
            'http-redirect',
            `${url.host} redirects from https to http, which vring does not follow.`,
          );
        }
        url = next;
        continue;
      }
      if (status !== 200) {
        const cause = { status };
        throw new VringError('http-status', `${printableUrl(url)} cannot be fetched: status ${status}.`, { cause });
      }
      return { url: url.href, bytes: await readBody(response, url, options) };
    } finally {
      response.destroy();
    }
  }
}

async function readBody(response: http.IncomingMessage, url: URL, options: DownloadOptions): Promise<number> {
  const stated = response.headers['content-length'];
  const totalBytes = stated !== undefined && /^\d+$/.test(stated) ? Number(stated) : undefined;
  const tooLarge = (): VringError =>
    new VringError('download-too-large', `${printableUrl(url)} is larger than the ${options.maxBytes} bytes expected.`);
  if (totalBytes !== undefined && totalBytes > options.maxBytes) throw tooLarge();
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > options.maxBytes) throw tooLarge();
      await options.onData(chunk, totalBytes);
    }
  } catch (error) {
    if (options.signal?.aborted) throw aborted(options.signal);
    const code = (error as NodeJS.ErrnoException).code;
    // A caller's own failure (a full disk, say) is not the network's.
    if (error instanceof VringError || (code !== 'ECONNRESET' && code !== 'ERR_STREAM_PREMATURE_CLOSE')) throw error;
    throw new VringError('download-truncated', `${url.host} broke off in the middle of ${url.pathname}.`, {
      cause: error,
    });
  }
  if (!response.complete || (totalBytes !== undefined && bytes !== totalBytes)) {
    throw new VringError('download-truncated', `${url.host} broke off in the middle of ${url.pathname}.`);
  }
  return bytes;
}
