/** Protocols `http` and `https`: a file on a web server, read-only, by byte ranges with read-ahead. */
import { BlockError } from '../errors.js';
import type { HttpHost, HttpOptions } from '../host.js';
import type { BlockDriver, DriverNode, OpenContext } from '../node.js';
import type { OptionRow } from '../options.js';

const sectorBytes = 512;

class HttpNode implements DriverNode {
  readonly length: number;
  readonly readOnly = true;
  readonly #http: HttpHost;
  readonly #url: string;
  readonly #options: HttpOptions;
  readonly #readahead: number;
  /** The last range fetched: small reads in a row cost one request. */
  #window: { readonly start: number; readonly bytes: Promise<Uint8Array>; readonly size: number } | undefined;

  constructor(http: HttpHost, url: string, options: HttpOptions, length: number, readahead: number) {
    this.#http = http;
    this.#url = url;
    this.#options = options;
    this.length = length;
    this.#readahead = readahead;
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    if (buffer.length >= this.#readahead) {
      await this.#http.range(this.#url, offset, buffer, this.#options);
      return;
    }
    let window = this.#window;
    if (!window || offset < window.start || offset + buffer.length > window.start + window.size) {
      const size = Math.min(Math.max(buffer.length, this.#readahead), this.length - offset);
      const bytes = new Uint8Array(size);
      window = {
        start: offset,
        size,
        bytes: this.#http.range(this.#url, offset, bytes, this.#options).then(() => bytes),
      };
      this.#window = window;
    }
    try {
      const bytes = await window.bytes;
      buffer.set(bytes.subarray(offset - window.start, offset - window.start + buffer.length));
    } catch (error) {
      if (this.#window === window) this.#window = undefined;
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#http.close();
  }
}

const openOptions: readonly OptionRow[] = [
  { name: 'filename', type: 'string', help: 'Same as url' },
  { name: 'url', type: 'string', help: 'URL of the file', strong: true },
  { name: 'readahead', type: 'size', default: 262144, help: 'Read-ahead in bytes' },
  { name: 'sslverify', type: 'boolean', default: true, help: "Verify the server's certificate" },
  { name: 'timeout', type: 'number', default: 5, help: 'Timeout in seconds' },
  { name: 'cookie', type: 'string', help: 'Cookie to send with each request' },
  { name: 'cookie-secret', type: 'string', help: 'ID of the secret with the cookie' },
  { name: 'username', type: 'string', help: 'User name for the server' },
  { name: 'password-secret', type: 'string', help: 'ID of the secret with the password' },
  { name: 'proxy-username', type: 'string', help: 'Accepted for compatibility; proxies are not used' },
  { name: 'proxy-password-secret', type: 'string', help: 'Accepted for compatibility; proxies are not used' },
  { name: 'force-range', type: 'boolean', help: 'Assume that ranges work although the server does not say so' },
];

async function open(context: OpenContext): Promise<DriverNode> {
  const { options, host, flags } = context;
  const url = options.string('url') ?? options.string('filename');
  if (url === undefined) throw new BlockError('EINVAL', "curl block driver requires an 'url' option");
  if (!flags.readOnly && !flags.autoReadOnly) throw new BlockError('EACCES', 'curl driver does not support writes');
  const readahead = options.number('readahead')!;
  if (readahead % sectorBytes !== 0)
    throw new BlockError('EINVAL', `HTTP_READAHEAD_SIZE ${readahead} is not a multiple of 512`);
  const timeout = options.number('timeout')!;
  if (timeout > 86400) throw new BlockError('EINVAL', 'timeout parameter is too large or negative');
  const text = async (id: string | undefined): Promise<string | undefined> =>
    id === undefined ? undefined : new TextDecoder().decode(await host.secret(id));
  const username = options.string('username');
  const password = await text(options.string('password-secret'));
  const cookie = options.string('cookie') ?? (await text(options.string('cookie-secret')));
  const settings: HttpOptions = {
    timeoutMs: timeout * 1000,
    verifyTls: options.boolean('sslverify')!,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(cookie === undefined ? {} : { cookie }),
  };
  const http = await host.http();
  try {
    const { sizeBytes, acceptsRanges } = await http.head(url, settings);
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
      throw new BlockError('EIO', 'Server did not report a usable file size.');
    if (!acceptsRanges && !options.boolean('force-range'))
      throw new BlockError('EIO', "Server does not support 'range' (byte ranges).");
    return new HttpNode(http, url, settings, sizeBytes, readahead);
  } catch (error) {
    http.close();
    throw new BlockError('EIO', `CURL: Error opening file: ${(error as Error).message}`, { cause: error });
  }
}

function makeDriver(name: 'http' | 'https'): BlockDriver {
  return {
    name,
    kind: 'protocol',
    protocols: [name],
    openOptions,
    parseFilename(filename) {
      // Older names carry options: `http:readahead=64k:…`. Only plain URLs are read.
      if (!filename.startsWith(`${name}://`))
        throw new BlockError('EINVAL', `${name} URL must start with '${name}://'`);
      return { url: filename };
    },
    formatFilename: (options) => (typeof options['url'] === 'string' ? options['url'] : undefined),
    open,
  };
}

export const httpDriver = makeDriver('http');
export const httpsDriver = makeDriver('https');
