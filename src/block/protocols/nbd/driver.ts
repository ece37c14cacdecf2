/**
 * Block protocol `nbd`: a disk that an NBD server exports. Options as QEMU's; beyond them `nbds:` URIs, extended headers and the
 * resize extension where the server has them.
 *
 * `reconnect-delay`: when the connection breaks, requests wait so many seconds for a new one and are then sent again; with 0
 * they fail at once and the next request tries to connect. `open-timeout`: how long the first connection is tried for.
 */
import { BlockError, toBlockError } from '../../errors.js';
import type { BlockHost, StreamAddress, TlsOptions } from '../../host.js';
import type {
  BlockDriver,
  BlockLimits,
  BlockNode,
  BlockStatus,
  DriverNode,
  OpenContext,
  ResizeOptions,
} from '../../node.js';
import { RequestFlag } from '../../node.js';
import { type OptionRow, type OptionValues, takeOptions } from '../../options.js';
import { NbdConnection } from './client.js';
import { loadPsk, loadTlsCredentials, loadX509, type TlsCredentials } from './credentials.js';
import { formatNbdName, nbdSchemes, parseNbdName } from './uri.js';
import { AllocationFlag, CommandFlag, defaultPort, maxPayloadBytes, maxStringBytes, TransmissionFlag } from './wire.js';

const sectorBytes = 512;
const retryMs = 1000;

const openOptions: readonly OptionRow[] = [
  { name: 'server.type', type: 'string', help: "Kind of the server's address: inet or unix", strong: true },
  { name: 'server.host', type: 'string', help: 'Host of the server', strong: true },
  { name: 'server.port', type: 'string', help: 'TCP port of the server', strong: true },
  { name: 'server.path', type: 'string', help: 'Unix socket of the server', strong: true },
  { name: 'server.str', type: 'string', help: 'File descriptor of a connected socket', strong: true },
  { name: 'host', type: 'string', help: 'TCP host to connect to', strong: true },
  { name: 'port', type: 'string', help: 'TCP port to connect to', strong: true },
  { name: 'path', type: 'string', help: 'Unix socket path to connect to', strong: true },
  { name: 'export', type: 'string', help: 'Name of the NBD export to open', strong: true },
  { name: 'tls-creds', type: 'string', help: 'ID of the TLS credentials to use', strong: true },
  { name: 'tls-hostname', type: 'string', help: 'Override hostname for validating TLS x509 certificate', strong: true },
  { name: 'tls', type: 'boolean', default: false, help: 'Demand TLS (set by nbds: names)' },
  { name: 'tls-certificates', type: 'string', help: 'Directory of certificates, for nbds: names' },
  { name: 'tls-psk-file', type: 'string', help: 'File of pre-shared keys, for nbds: names' },
  { name: 'tls-username', type: 'string', help: 'User name of the pre-shared key, for nbds: names' },
  {
    name: 'x-dirty-bitmap',
    type: 'string',
    help: 'experimental: expose named dirty bitmap in place of block status',
    strong: true,
  },
  { name: 'reconnect-delay', type: 'number', default: 0, help: 'Seconds that requests wait for a new connection' },
  { name: 'open-timeout', type: 'number', default: 0, help: 'Seconds that the first connection is tried for' },
];

interface Target {
  readonly address: StreamAddress;
  readonly exportName: string;
  readonly tls: TlsOptions | undefined;
  readonly context: string;
}

function addressOf(options: OptionValues): StreamAddress {
  const path = options.string('server.path') ?? options.string('path');
  const host = options.string('server.host') ?? options.string('host');
  const type = options.string('server.type');
  if (type === 'fd') {
    const fd = Number(options.string('server.str'));
    if (!Number.isInteger(fd) || fd < 0) throw new BlockError('EINVAL', "Parameter 'server.str' is missing");
    return { type: 'fd', fd };
  }
  if (type !== undefined && type !== 'inet' && type !== 'unix')
    throw new BlockError('EINVAL', `Parameter 'type' does not accept value '${type}'`);
  if (path !== undefined && host !== undefined)
    throw new BlockError('EINVAL', 'path and host may not be used at the same time');
  if (path !== undefined) return { type: 'unix', path };
  if (host === undefined) throw new BlockError('EINVAL', 'NBD server address missing');
  const text = options.string('server.port') ?? options.string('port') ?? String(defaultPort);
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65535)
    throw new BlockError(
      'EINVAL',
      `address resolution failed for ${host}:${text}: Servname not supported for ai_socktype`,
    );
  return { type: 'inet', host, port };
}

/** Credentials in the form the host's TLS client takes. */
export function clientTls(credentials: TlsCredentials, serverName: string | undefined): TlsOptions {
  if (credentials.kind === 'psk')
    return { kind: 'psk', identity: credentials.username, key: credentials.keys.get(credentials.username)! };
  if (credentials.kind === 'anon')
    throw new BlockError(
      'ENOTSUP',
      'Anonymous TLS is not supported by this client: it could not tell who the server is',
    );
  return {
    kind: 'x509',
    verifyPeer: credentials.verifyPeer,
    ...(credentials.ca ? { ca: credentials.ca } : {}),
    ...(credentials.cert && credentials.key ? { cert: credentials.cert, key: credentials.key } : {}),
    ...(serverName === undefined ? {} : { serverName }),
  };
}

async function tlsOf(host: BlockHost, options: OptionValues, address: StreamAddress): Promise<TlsOptions | undefined> {
  const id = options.string('tls-creds');
  const serverName = options.string('tls-hostname') ?? (address.type === 'inet' ? address.host : undefined);
  if (id !== undefined) return clientTls(await loadTlsCredentials(host, id, 'client'), serverName);
  if (!options.boolean('tls')) {
    if (options.given('tls-hostname')) throw new BlockError('EINVAL', 'tls-hostname requires tls-creds');
    return undefined;
  }
  const pskFile = options.string('tls-psk-file');
  if (pskFile !== undefined)
    return clientTls(await loadPsk(host, pskFile, 'client', options.string('tls-username') ?? 'qemu'), undefined);
  const directory = options.string('tls-certificates');
  if (directory !== undefined) return clientTls(await loadX509(host, directory, 'client', true), serverName);
  return { kind: 'x509', verifyPeer: true, ...(serverName === undefined ? {} : { serverName }) };
}

async function targetOf(host: BlockHost, options: OptionValues): Promise<Target> {
  const address = addressOf(options);
  const exportName = options.string('export') ?? '';
  if (new TextEncoder().encode(exportName).length > maxStringBytes)
    throw new BlockError('EINVAL', 'export name too long to send to server');
  return {
    address,
    exportName,
    tls: await tlsOf(host, options, address),
    context: options.string('x-dirty-bitmap') ?? 'base:allocation',
  };
}

async function connect(host: BlockHost, target: Target): Promise<NbdConnection> {
  return NbdConnection.open({
    network: await host.network(),
    address: target.address,
    exportName: target.exportName,
    contexts: [target.context],
    ...(target.tls ? { tls: target.tls } : {}),
  });
}

class NbdNode implements DriverNode {
  length: number;
  readonly limits: Partial<BlockLimits>;
  readonly writeFlags: number;
  readonly zeroFlags: number;
  readonly readOnly: boolean;
  readonly #host: BlockHost;
  readonly #node: BlockNode;
  readonly #target: Target;
  readonly #reconnectMs: number;
  readonly #flags: number;
  #connection: NbdConnection;
  #connecting: Promise<void> | undefined;
  #triedAtNs = 0;
  #isClosed = false;

  constructor(context: OpenContext, target: Target, connection: NbdConnection, readOnly: boolean) {
    const { info } = connection;
    this.#host = context.host;
    this.#node = context.node;
    this.#target = target;
    this.#connection = connection;
    this.#reconnectMs = context.options.number('reconnect-delay')! * 1000;
    this.#flags = info.flags;
    this.length = info.lengthBytes;
    this.readOnly = readOnly;
    // As in QEMU: a server that says nothing of block sizes is asked for sectors, unless it shows that it takes any size.
    const alignment =
      info.minimumBlockBytes || (info.lengthBytes % sectorBytes !== 0 || info.contexts.length > 0 ? 1 : sectorBytes);
    const most = Math.min(maxPayloadBytes, info.maximumBlockBytes || maxPayloadBytes);
    const maxTransfer = Math.max(alignment, most - (most % alignment));
    this.limits = {
      requestAlignment: alignment,
      maxTransfer,
      maxWriteZeroes: maxTransfer,
      zeroAlignment: alignment,
      discardAlignment: alignment,
      maxDiscard: 2 ** 31 - alignment,
      optimalTransfer: info.preferredBlockBytes > alignment ? info.preferredBlockBytes : 0,
    };
    const fua = info.flags & TransmissionFlag.sendFua ? RequestFlag.fua : 0;
    this.writeFlags = fua;
    this.zeroFlags =
      info.flags & TransmissionFlag.sendWriteZeroes
        ? fua | RequestFlag.mayUnmap | (info.flags & TransmissionFlag.sendFastZero ? RequestFlag.noFallback : 0)
        : 0;
  }

  /** Sends a request, again after a new connection where the options allow it. */
  async #request<T>(send: (connection: NbdConnection) => Promise<T>): Promise<T> {
    const startNs = this.#host.monotonicNs();
    for (;;) {
      let connection = this.#connection;
      if (connection.isDead) {
        await this.#reconnect();
        connection = this.#connection;
      }
      if (!connection.isDead) {
        try {
          return await send(connection);
        } catch (error) {
          if (!connection.isDead) throw error;
        }
      }
      if (this.#isClosed || (this.#host.monotonicNs() - startNs) / 1e6 >= this.#reconnectMs)
        throw new BlockError('EIO');
    }
  }

  /** One attempt for all who wait, at most one a second; leaves the dead connection in place when it fails. */
  #reconnect(): Promise<void> {
    this.#connecting ??= (async () => {
      try {
        const waitedMs = (this.#host.monotonicNs() - this.#triedAtNs) / 1e6;
        if (this.#triedAtNs > 0 && waitedMs < retryMs) {
          if (this.#reconnectMs === 0) return;
          await this.#host.sleepMs(retryMs - waitedMs);
        }
        this.#triedAtNs = this.#host.monotonicNs();
        const made = await connect(this.#host, this.#target);
        // Another disk under the same name would be worse than none.
        if (made.info.lengthBytes !== this.length || made.info.flags !== this.#flags || this.#isClosed)
          await made.close();
        else this.#connection = made;
      } catch {
        // Told by the request that waited.
      } finally {
        this.#connecting = undefined;
      }
    })();
    return this.#connecting;
  }

  read(offset: number, buffer: Uint8Array): Promise<void> {
    return this.#request((connection) => connection.read(offset, buffer));
  }

  write(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    return this.#request((connection) => connection.write(offset, buffer, (flags & RequestFlag.fua) !== 0));
  }

  async writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    if (!(this.#flags & TransmissionFlag.sendWriteZeroes)) throw new BlockError('ENOTSUP');
    const wire =
      (flags & RequestFlag.fua ? CommandFlag.fua : 0) |
      (flags & RequestFlag.mayUnmap ? 0 : CommandFlag.noHole) |
      (flags & RequestFlag.noFallback ? CommandFlag.fastZero : 0);
    await this.#request((connection) => connection.writeZeroes(offset, length, wire));
  }

  async discard(offset: number, length: number): Promise<void> {
    if (!(this.#flags & TransmissionFlag.sendTrim)) return;
    await this.#request((connection) => connection.trim(offset, length));
  }

  async flush(): Promise<void> {
    if (!(this.#flags & TransmissionFlag.sendFlush)) return;
    await this.#request((connection) => connection.flush());
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const mapped = { offset, file: this.#node };
    const id = this.#connection.contextId(this.#target.context);
    if (id === undefined) return { length, data: true, zero: false, allocated: true, ...mapped };
    const alignment = this.limits.requestAlignment!;
    const most = 2 ** 32 - alignment;
    const extents = await this.#request((connection) => connection.blockStatus(offset, Math.min(length, most), true));
    const first = extents.get(id)?.[0];
    if (!first) throw new BlockError('EIO');
    // An extent that ends within a block is the server's slip: the block counts with it.
    const size = Math.min(length, Math.max(alignment, first.length - (first.length % alignment)));
    return {
      length: size,
      data: (first.flags & AllocationFlag.hole) === 0,
      zero: (first.flags & AllocationFlag.zero) !== 0,
      allocated: true,
      ...mapped,
    };
  }

  async resize(length: number, options: ResizeOptions): Promise<void> {
    if (this.#flags & TransmissionFlag.sendResize) {
      await this.#request((connection) => connection.resize(length));
      this.length = length;
      return;
    }
    if (length > this.length) throw new BlockError('EINVAL', 'Cannot grow NBD nodes');
    if (length !== this.length && options.exact) throw new BlockError('ENOTSUP', 'Cannot resize NBD nodes');
  }

  /** The server's own mode decides; a writable export may also be used without writing. */
  async reopen(readOnly: boolean): Promise<void> {
    if (!readOnly && this.#flags & TransmissionFlag.readOnly)
      throw new BlockError('EACCES', "Can't reopen read-only export as writable");
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#connection.close();
  }
}

async function openWithin(host: BlockHost, target: Target, timeoutMs: number): Promise<NbdConnection> {
  const startNs = host.monotonicNs();
  for (;;) {
    try {
      return await connect(host, target);
    } catch (error) {
      if ((host.monotonicNs() - startNs) / 1e6 + retryMs > timeoutMs) throw toBlockError(error);
      await host.sleepMs(retryMs);
    }
  }
}

export const nbdDriver: BlockDriver = {
  name: 'nbd',
  kind: 'protocol',
  protocols: nbdSchemes,
  openOptions,
  createOptions: [
    { name: 'size', type: 'size', default: 0, help: 'Virtual disk size' },
    { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off)' },
  ],
  parseFilename: parseNbdName,
  formatFilename: formatNbdName,

  async open(context) {
    const target = await targetOf(context.host, context.options);
    const connection = await openWithin(context.host, target, context.options.number('open-timeout')! * 1000);
    let { readOnly } = context.flags;
    try {
      if (target.context !== 'base:allocation' && connection.contextId(target.context) === undefined)
        throw new BlockError('EINVAL', `requested x-dirty-bitmap ${target.context} not found`);
      if (connection.readOnly && !readOnly) {
        if (!context.flags.autoReadOnly) throw new BlockError('EACCES', 'Could not open image: Permission denied');
        readOnly = true;
      }
    } catch (error) {
      await connection.close();
      throw error;
    }
    return new NbdNode(context, target, connection, readOnly);
  },

  /** A server's disk can't be made; one that is there and large enough will do. Its first sector is cleared, so that no old format shows. */
  async create(context) {
    const mode = context.options.string('preallocation');
    if (mode !== undefined && mode !== 'off')
      throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${mode}'`);
    const values: OptionValues = takeOptions(openOptions, parseNbdName(context.filename));
    const connection = await connect(context.host, await targetOf(context.host, values));
    try {
      if (connection.readOnly) throw new BlockError('EACCES', 'request on write denied without write permission');
      const size = context.options.number('size')!;
      if (connection.info.lengthBytes < size) throw new BlockError('EINVAL', 'Cannot grow NBD nodes');
      const first = Math.min(Math.max(sectorBytes, connection.info.minimumBlockBytes), connection.info.lengthBytes);
      await connection.write(0, new Uint8Array(first));
    } finally {
      await connection.close();
    }
  },
};
