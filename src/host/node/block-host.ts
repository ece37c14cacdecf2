/** The block layer's host on Node.js. Everything but files is loaded on first use. */
import { isUtf8 } from 'node:buffer';
import { BlockError } from '../../block/errors.js';
import type { BlockHost, CompressionHost, CryptoHost, HttpHost, NetworkHost } from '../../block/host.js';
import { NodeFileHost } from './block-file.js';

const zeroes = Buffer.alloc(64 * 1024);

export class NodeBlockHost implements BlockHost {
  readonly files = new NodeFileHost();
  readonly secrets = new Map<string, Uint8Array>();
  /** Other objects that a command line defined (TLS credentials, throttle groups), by id. */
  readonly objects = new Map<string, { readonly type: string; readonly options: Readonly<Record<string, unknown>> }>();
  readonly #report: (severity: 'warning' | 'error' | 'plain', message: string) => void;

  /** `report` prints one warning or error line; by default to stderr. */
  constructor(report?: (severity: 'warning' | 'error' | 'plain', message: string) => void) {
    this.#report =
      report ??
      ((severity, message) =>
        process.stderr.write(
          `${severity === 'plain' ? '' : severity === 'warning' ? 'vring: warning: ' : 'vring: '}${message}\n`,
        ));
  }

  async compression(): Promise<CompressionHost> {
    return (await import('./block-compression.js')).nodeCompression;
  }

  async crypto(): Promise<CryptoHost> {
    return (await import('./block-crypto.js')).nodeCrypto;
  }

  async network(): Promise<NetworkHost> {
    return (await import('./block-network.js')).nodeNetwork;
  }

  async http(): Promise<HttpHost> {
    return (await import('./block-http.js')).nodeHttp;
  }

  isZero(bytes: Uint8Array): boolean {
    const length = bytes.length;
    // Most data differs from zero at once; a few probes spare the memcmp's set-up.
    if (length === 0) return true;
    if (bytes[0] !== 0 || bytes[length - 1] !== 0 || bytes[length >>> 1] !== 0) return false;
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, length);
    for (let at = 0; at < length; at += zeroes.length) {
      const end = Math.min(length, at + zeroes.length);
      if (zeroes.compare(buffer, at, end, 0, end - at) !== 0) return false;
    }
    return true;
  }

  equal(a: Uint8Array, b: Uint8Array): boolean {
    return a.length === b.length && Buffer.compare(a, b) === 0;
  }

  allocate(sizeBytes: number): Uint8Array {
    return Buffer.allocUnsafeSlow(sizeBytes);
  }

  allocateShared(sizeBytes: number): Uint8Array {
    return new Uint8Array(new SharedArrayBuffer(sizeBytes));
  }

  monotonicNs(): number {
    return Number(process.hrtime.bigint());
  }

  wallNs(): number {
    return Date.now() * 1e6;
  }

  sleepMs(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  async secret(id: string): Promise<Uint8Array> {
    const value = this.secrets.get(id);
    if (value === undefined) throw new BlockError('EINVAL', `No secret with id '${id}'`);
    // Passphrases are text: other tools could not be given such a one.
    if (!isUtf8(value)) throw new BlockError('EINVAL', `Data from secret ${id} is not valid UTF-8`);
    return value;
  }

  object(id: string) {
    return this.objects.get(id);
  }

  report(severity: 'warning' | 'error' | 'plain', message: string): void {
    this.#report(severity, message);
  }
}
