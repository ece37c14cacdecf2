/** Ranges of http and https resources, on node:http(s) with connections kept alive. */
import * as http from 'node:http';
import * as https from 'node:https';
import { BlockError, toBlockError } from '../../block/errors.js';
import type { HttpHost, HttpOptions } from '../../block/host.js';

const agents = { http: new http.Agent({ keepAlive: true }), https: new https.Agent({ keepAlive: true }) };
const maxRedirects = 10;

function request(
  method: string,
  url: string,
  headers: Record<string, string>,
  options: HttpOptions,
  redirects = 0,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const target = new URL(url);
    const isSecure = target.protocol === 'https:';
    const all: Record<string, string> = { ...headers };
    if (options.cookie !== undefined) all['cookie'] = options.cookie;
    if (options.username !== undefined)
      all['authorization'] = `Basic ${Buffer.from(`${options.username}:${options.password ?? ''}`).toString('base64')}`;
    const settings: https.RequestOptions = {
      method,
      headers: all,
      timeout: options.timeoutMs,
      agent: isSecure ? agents.https : agents.http,
    };
    if (isSecure && !options.verifyTls) settings.rejectUnauthorized = false;
    const call = (isSecure ? https : http).request(target, settings, (response) => {
      const status = response.statusCode ?? 0;
      if (status >= 300 && status < 400 && response.headers.location !== undefined && redirects < maxRedirects) {
        response.resume();
        const next = new URL(response.headers.location, target);
        // Credentials and cookies stay with the server they were given for; a redirect names an http resource or fails.
        const isSameServer = next.origin === target.origin;
        const { username: _user, password: _password, cookie: _cookie, ...anonymous } = options;
        if (next.protocol !== 'http:' && next.protocol !== 'https:')
          reject(new BlockError('EIO', `Redirected to unsupported protocol '${next.protocol}'`));
        else resolve(request(method, next.href, headers, isSameServer ? options : anonymous, redirects + 1));
        return;
      }
      if (status >= 200 && status < 300) resolve(response);
      else {
        response.resume();
        reject(new BlockError(status === 404 ? 'ENOENT' : 'EIO', `The requested URL returned error: ${status}`));
      }
    });
    call.on('timeout', () => call.destroy(new BlockError('ETIMEDOUT')));
    call.on('error', (error) => reject(toBlockError(error)));
    call.end();
  });
}

export const nodeHttp: HttpHost = {
  async head(url, options) {
    const response = await request('HEAD', url, {}, options);
    response.resume();
    const length = response.headers['content-length'];
    if (length === undefined) throw new BlockError('EIO', "Server didn't report file size.");
    return { sizeBytes: Number(length), acceptsRanges: response.headers['accept-ranges'] === 'bytes' };
  },
  async range(url, offset, buffer, options) {
    const response = await request('GET', url, { range: `bytes=${offset}-${offset + buffer.length - 1}` }, options);
    // A server that ignores the range sends the file from its start: skip to the offset, and stop when the buffer is full.
    let skip = response.statusCode === 206 ? 0 : offset;
    let done = 0;
    try {
      for await (const piece of response as AsyncIterable<Buffer>) {
        let chunk = piece;
        if (skip > 0) {
          const drop = Math.min(skip, chunk.length);
          skip -= drop;
          chunk = chunk.subarray(drop);
        }
        const part = chunk.subarray(0, buffer.length - done);
        buffer.set(part, done);
        done += part.length;
        if (done === buffer.length) break;
      }
    } catch (error) {
      throw toBlockError(error);
    }
    if (done < buffer.length) throw new BlockError('EIO');
  },
  close() {
    // Connections are shared by all open images; idle ones do not keep the process alive, and end by themselves.
  },
};
