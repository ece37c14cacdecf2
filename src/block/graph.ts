/**
 * Opening and creating: names and options become nodes. The rules (which option beats which, what is probed, how a
 * relative backing name is resolved, the error sentences) are QEMU's, since images and scripts depend on them.
 */
import { BlockError, errorText, toBlockError } from './errors.js';
import { GraphNode, probeBytes } from './graph-node.js';
import type { BlockHost } from './host.js';
import { hashedJson, parseJson } from './json.js';
import {
  type BlockDriver,
  type BlockNode,
  type ChildRole,
  type CreateContext,
  defaultOpenFlags,
  type OpenChildOptions,
  type OpenContext,
  type OpenFlags,
  Permission,
  type Preallocation,
} from './node.js';
import { applyCommon, cacheFlags, cacheRows, commonRows } from './node-flags.js';
import {
  flattenOptions,
  nestOptions,
  type OptionDict,
  type OptionRow,
  parseBoolean,
  parseOptionString,
  takeOptions,
  takePrefix,
} from './options.js';
import { findProtocol, findRow, hasProtocol, loadDriver, probeFormat } from './registry.js';
import { reopenNode } from './reopen.js';

export interface OpenRequest {
  /** A path, `protocol:…`, or `json:{…}`. */
  readonly filename?: string;
  /** As `-f`: the driver of the top node; probed when absent. */
  readonly format?: string;
  /** Flat options (see options.ts), e.g. from `parseOptionString` or `flattenOptions`. */
  readonly options?: OptionDict;
  readonly flags?: Partial<OpenFlags>;
  /** What the caller does with the node: default consistentRead, and write when not read-only. */
  readonly permissions?: number;
  readonly shared?: number;
}

/** Parses `json:{…}` into flat options. */
export function parseJsonFilename(filename: string): OptionDict {
  let value: unknown;
  try {
    value = parseJson(filename.slice('json:'.length));
  } catch (error) {
    throw new BlockError('EINVAL', `Could not parse the JSON options: ${toBlockError(error).message}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new BlockError('EINVAL', 'Invalid JSON object given');
  return flattenOptions(value);
}

/** Joins a name found in an image with the directory of that image, unless it is absolute or has a protocol. */
export function combinePath(base: string, name: string): string {
  if (name === '' || name.startsWith('/') || hasProtocol(name)) return name;
  const protocolEnd = hasProtocol(base) ? base.indexOf(':') + 1 : 0;
  const slash = base.lastIndexOf('/');
  return base.slice(0, Math.max(protocolEnd, slash + 1)) + name;
}

/** What names found in an image are relative to: the name of the file below it and its filters. */
export function baseName(node: BlockNode): string {
  let at = node;
  while (at.file) at = at.file;
  return at.filename;
}

/** All nodes of one process or machine that may name each other. */
export class BlockGraph {
  readonly host: BlockHost;
  readonly #byName = new Map<string, GraphNode>();
  #generated = 100;

  constructor(host: BlockHost) {
    this.host = host;
  }

  find(nodeName: string): GraphNode | undefined {
    return this.#byName.get(nodeName);
  }

  get nodes(): readonly GraphNode[] {
    return [...this.#byName.values()];
  }

  /** Opens an image for use: the node has one reference (drop it by `close`) and the permissions asked for. */
  async open(request: OpenRequest): Promise<GraphNode> {
    const flags: OpenFlags = { ...defaultOpenFlags, ...request.flags };
    const node = await this.#open(request.filename, { ...request.options }, request.format, flags, {
      isProtocol: false,
      allowProbe: true,
    });
    try {
      const permissions =
        request.permissions ?? (flags.noIo ? 0 : Permission.consistentRead) | (node.readOnly ? 0 : Permission.write);
      node.rootUse = await node.acquire('user', permissions, request.shared ?? Permission.all);
    } catch (error) {
      await node.close().catch(() => undefined);
      throw error;
    }
    return node;
  }

  async #open(
    filename: string | undefined,
    options: OptionDict,
    format: string | undefined,
    inherited: OpenFlags,
    how: { readonly isProtocol: boolean; readonly allowProbe: boolean; readonly chain?: readonly string[] },
  ): Promise<GraphNode> {
    if (filename?.startsWith('json:')) {
      // Options given beside the name win over those in it.
      options = { ...parseJsonFilename(filename), ...options, ...(format === undefined ? {} : { driver: format }) };
      filename = undefined;
    }
    let driverName = typeof options['driver'] === 'string' ? options['driver'] : undefined;
    delete options['driver'];
    if (format !== undefined && driverName !== undefined && format !== driverName) {
      throw new BlockError('EINVAL', 'Driver specified twice');
    }
    driverName ??= format;
    if (driverName !== undefined && !findRow(driverName))
      throw new BlockError('EINVAL', `Unknown driver '${driverName}'`);
    const kind = driverName === undefined ? undefined : findRow(driverName)!.kind;
    if (how.isProtocol || kind === 'protocol') {
      return this.#openProtocol(filename, options, driverName, inherited);
    }
    if (driverName === undefined && filename === undefined && Object.keys(options).length === 0) {
      throw new BlockError('EINVAL', 'Must specify either driver or file');
    }
    if (kind === 'filter' && filename === undefined) filename = undefined;
    const common = takeOptions([...commonRows, ...cacheRows], options);
    const flags = applyCommon(inherited, common);

    let file: GraphNode | undefined;
    let isProbed = false;
    const needsFileFirst = driverName === undefined || kind === 'format';
    if (needsFileFirst) file = await this.#openFileChild(filename, options, flags);
    try {
      if (driverName === undefined) {
        if (!file) throw new BlockError('EINVAL', 'Must specify either driver or file');
        driverName = await this.#probe(file);
        isProbed = driverName === 'raw';
      }
      const driver = await loadDriver(driverName);
      const node = new GraphNode(this.host, driver, this.#name(common.string('node-name')), filename ?? '', {}, flags);
      node.probed = isProbed;
      if (isProbed && !flags.readOnly && file) {
        this.host.report(
          'plain',
          `WARNING: Image format was not specified for '${file.filename}' and probing guessed raw.\n         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n         Specify the 'raw' format explicitly to remove the restrictions.`,
        );
      }
      return await this.#openDriver(node, options, common.names().length > 0, file, how.chain ?? []);
    } catch (error) {
      // `#openDriver` took the reference if it got that far; closing twice is harmless as the count is then 0.
      if (file && !file.isAdopted) await file.close().catch(() => undefined);
      throw error;
    }
  }

  #name(given: string | undefined): string {
    if (given !== undefined) {
      if (this.#byName.has(given)) throw new BlockError('EINVAL', `Duplicate nodes with node-name='${given}'`);
      if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(given)) throw new BlockError('EINVAL', `Invalid node-name: '${given}'`);
      return given;
    }
    return `#block${this.#generated++}`;
  }

  /** Gives an open node new options (`reopen`), all of them or, with an error, none. */
  reopen(node: GraphNode, options: OptionDict, flags: Partial<OpenFlags> = {}): void {
    reopenNode(node, options, flags, (name) => this.find(name));
  }

  /** Flags a storage child gets from its parent. */
  #storageFlags(flags: OpenFlags): OpenFlags {
    return { ...flags, unmap: true, writeThrough: false, detectZeroes: 'off', copyOnRead: false, check: false };
  }

  async #openFileChild(
    filename: string | undefined,
    options: OptionDict,
    flags: OpenFlags,
  ): Promise<GraphNode | undefined> {
    const reference = options['file'];
    delete options['file'];
    const own = takePrefix(options, 'file');
    if (typeof reference === 'string') {
      if (Object.keys(own).length > 0)
        throw new BlockError(
          'EINVAL',
          'Cannot reference an existing block device with additional options or a new filename',
        );
      return this.#reference(reference);
    }
    if (filename === undefined && Object.keys(own).length === 0) return undefined;
    return this.#openChildNode(filename, own, this.#storageFlags(flags), false);
  }

  #reference(nodeName: string): GraphNode {
    const node = this.#byName.get(nodeName);
    if (!node) throw new BlockError('ENODEV', `Cannot find device='${nodeName}' nor node-name='${nodeName}'`);
    return node.retain();
  }

  /** A child: without a driver named, a protocol node; with one, whatever it is. */
  async #openChildNode(
    filename: string | undefined,
    options: OptionDict,
    flags: OpenFlags,
    allowProbe: boolean,
  ): Promise<GraphNode> {
    return this.#open(filename, options, undefined, flags, {
      isProtocol: !allowProbe && this.#isProtocolChild(filename, options),
      allowProbe,
    });
  }

  #isProtocolChild(filename: string | undefined, options: OptionDict): boolean {
    if (filename?.startsWith('json:')) {
      const inner = parseJsonFilename(filename);
      return typeof inner['driver'] !== 'string' || findRow(inner['driver'])?.kind === 'protocol';
    }
    const driver = options['driver'];
    return typeof driver !== 'string' || findRow(driver)?.kind === 'protocol';
  }

  async #openProtocol(
    filename: string | undefined,
    options: OptionDict,
    driverName: string | undefined,
    inherited: OpenFlags,
  ): Promise<GraphNode> {
    const named = options['filename'];
    // As an option it is a path whatever it looks like; only by itself may it name a protocol.
    const isPath = filename === undefined;
    if (filename === undefined && typeof named === 'string') filename = named;
    else if (named !== undefined && named !== filename)
      throw new BlockError('EINVAL', "Can't specify 'file' and 'filename' options at the same time");
    delete options['filename'];
    if (driverName === undefined) {
      if (filename === undefined) throw new BlockError('EINVAL', 'Must specify either driver or file');
      const kind = !isPath && hasProtocol(filename) ? undefined : (await this.host.files.stat(filename))?.kind;
      const isDevice = kind === 'block-device' || kind === 'character-device';
      if (isPath) driverName = isDevice ? 'host_device' : 'file';
      else driverName = findProtocol(filename, isDevice);
    }
    const driver = await loadDriver(driverName);
    if (filename !== undefined && !isPath && driver.parseFilename)
      Object.assign(options, { ...driver.parseFilename(filename), ...options });
    else if (filename !== undefined) options['filename'] = filename;
    const common = takeOptions([...commonRows, ...cacheRows], options);
    const flags = applyCommon(inherited, common);
    const node = new GraphNode(this.host, driver, this.#name(common.string('node-name')), filename ?? '', {}, flags);
    return this.#openDriver(node, options, false, undefined, []);
  }

  async #probe(file: GraphNode): Promise<string> {
    const size = Math.min(probeBytes, file.length);
    if (size === 0) return 'raw';
    const bytes = new Uint8Array(size);
    try {
      await file.read(0, bytes);
    } catch (error) {
      throw new BlockError(
        toBlockError(error).code,
        `Could not read image for determining its format: ${toBlockError(error).message}`,
      );
    }
    return probeFormat(bytes, file.filename);
  }

  async #openDriver(
    node: GraphNode,
    options: OptionDict,
    _hasCommon: boolean,
    file: GraphNode | undefined,
    chain: readonly string[],
  ): Promise<GraphNode> {
    const driver = node.driver;
    const given = { ...options };
    const takeOpenOptions = takeOptions(driver.openOptions, options);
    const graph = this;
    const backingOptions = takePrefix(options, 'backing');
    const backingReference = options['backing'];
    delete options['backing'];
    const context: OpenContext = {
      host: this.host,
      flags: node.flags,
      options: takeOpenOptions,
      filename: file?.filename ?? node.filename,
      node,
      async openFile(role: ChildRole = driver.kind === 'filter' ? 'filtered' : 'storage') {
        const existing = node.children.find((child) => child.name === 'file');
        if (existing) return existing.node;
        if (!file) {
          file = await graph.#openFileChild(undefined, options, node.flags);
          if (!file) throw new BlockError('EINVAL', 'A block device must be specified for "file"');
        }
        const child = file;
        child.isAdopted = true;
        await node.attach('file', role, child).catch(async (error) => {
          await child.close().catch(() => undefined);
          throw error;
        });
        return child;
      },
      async openChild(name, role, how) {
        const child = await context.openOptionalChild(name, role, how);
        if (!child) throw new BlockError('EINVAL', `A block device must be specified for "${name}"`);
        return child;
      },
      async openOptionalChild(name: string, role: ChildRole, how: OpenChildOptions = {}) {
        const reference = options[name];
        delete options[name];
        const own = { ...how.defaults, ...takePrefix(options, name) };
        let child: GraphNode;
        if (typeof reference === 'string') child = graph.#reference(reference);
        else if (Object.keys(own).length === 0 && how.filename === undefined) return undefined;
        else {
          const base =
            role === 'backing'
              ? graph.#backingFlags(node.flags)
              : role === 'filtered'
                ? node.flags
                : graph.#storageFlags(node.flags);
          child = await graph.#openChildNode(
            how.filename,
            own,
            { ...base, ...how.flags },
            how.allowProbe ?? role === 'filtered',
          );
        }
        child.isAdopted = true;
        await node.attach(name, role, child).catch(async (error) => {
          await child.close().catch(() => undefined);
          throw error;
        });
        return child;
      },
      takePrefix: (prefix) => takePrefix(options, prefix),
      resolveRelative(name) {
        const base = baseName(node);
        if (name !== '' && !name.startsWith('/') && !hasProtocol(name) && base.startsWith('json:')) {
          throw new BlockError('EINVAL', `Cannot use relative paths with '${base}'`);
        }
        return combinePath(base, name);
      },
    };
    try {
      const instance = await driver.open(context);
      node.start(instance);
      this.#finishNames(node, given);
      const left = Object.keys(options);
      if (left.length > 0) {
        throw new BlockError(
          'EINVAL',
          driver.kind === 'protocol'
            ? `Block protocol '${driver.name}' doesn't support the option '${left[0]}'`
            : `Block format '${driver.name}' does not support the option '${left[0]}'`,
        );
      }
      const [backingOption] = Object.keys(backingOptions);
      // Where no backing file is wanted, options for one are left over.
      if (driver.supportsBacking && !node.flags.noBacking)
        await this.#openBacking(node, backingReference, backingOptions, chain);
      else if (backingReference !== null && (backingReference !== undefined || backingOption !== undefined)) {
        const option = backingOption === undefined ? 'backing' : `backing.${backingOption}`;
        throw new BlockError('EINVAL', `Block format '${driver.name}' does not support the option '${option}'`);
      }
    } catch (error) {
      await node.abandon();
      const typed = toBlockError(error);
      if (!typed.bare) throw typed;
      throw new BlockError(
        typed.code,
        node.filename !== ''
          ? `Could not open '${node.filename}': ${errorText(typed.code)}`
          : `Could not open image: ${errorText(typed.code)}`,
        { cause: error },
      );
    }
    this.#byName.set(node.nodeName, node);
    node.onClosed = () => this.#byName.delete(node.nodeName);
    return node;
  }

  /** The name under which this very node could be opened again. */
  #finishNames(node: GraphNode, given: OptionDict): void {
    const driver = node.driver;
    const own: OptionDict = {};
    for (const [key, value] of Object.entries(given)) {
      if (node.children.some((child) => key === child.name || key.startsWith(child.name + '.'))) continue;
      if (key === 'backing' || key.startsWith('backing.')) continue;
      own[key] = value;
    }
    node.options = { driver: driver.name, ...own };
    if (driver.kind === 'protocol') {
      node.filename =
        driver.formatFilename?.(own, node.children) ??
        (typeof own['filename'] === 'string' ? own['filename'] : jsonFilename(node));
      return;
    }
    const short = driver.kind === 'filter' ? driver.formatFilename?.(own, node.children) : undefined;
    const hasStrong = driver.openOptions.some((row) => row.strong && row.name in given);
    const file = node.children.find((child) => child.name === 'file')?.node;
    if (
      driver.kind === 'format' &&
      // Filters that a name can stand for (blkdebug:, blkverify:) are as good as protocols.
      (file?.driver.kind === 'protocol' || file?.driver.protocols) &&
      !file.filename.startsWith('json:') &&
      !hasStrong &&
      !('backing' in given && !(node.flags.noBacking && given['backing'] === null))
    ) {
      node.filename = file.filename;
    } else node.filename = short ?? jsonFilename(node);
  }

  #backingFlags(flags: OpenFlags): OpenFlags {
    return {
      ...flags,
      readOnly: true,
      autoReadOnly: false,
      copyOnRead: false,
      detectZeroes: 'off',
      writeThrough: false,
      check: false,
    };
  }

  async #openBacking(
    node: GraphNode,
    reference: unknown,
    options: OptionDict,
    chain: readonly string[],
  ): Promise<void> {
    if (reference === null || node.backing) return;
    const file = node.instance.backingFile;
    if (typeof reference === 'string' && reference !== '') {
      await node.attach('backing', 'backing', this.#reference(reference));
      return;
    }
    const hasName = file !== undefined && file !== '';
    if (!hasName && Object.keys(options).length === 0) return;
    let child: GraphNode;
    try {
      let filename: string | undefined;
      if (!('file.filename' in options) && !('filename' in options) && !('file' in options) && hasName) {
        const base = baseName(node);
        if (!file.startsWith('json:') && !file.startsWith('/') && !hasProtocol(file) && base.startsWith('json:')) {
          throw new BlockError('EINVAL', `Cannot use relative paths with '${base}'`);
        }
        filename = file.startsWith('json:') ? file : combinePath(base, file);
      }
      const format = node.instance.backingFormat;
      if (format !== undefined && format !== '' && !('driver' in options) && !filename?.startsWith('json:'))
        options['driver'] = format;
      const known = [...chain, this.host.files.resolve(node.filename)];
      if (filename !== undefined && known.includes(this.host.files.resolve(filename))) {
        throw new BlockError('ELOOP', `Backing file '${filename}' creates an infinite loop`);
      }
      child = await this.#open(filename, options, undefined, this.#backingFlags(node.flags), {
        isProtocol: false,
        allowProbe: true,
        chain: known,
      });
    } catch (error) {
      const typed = toBlockError(error);
      throw new BlockError(typed.code, `Could not open backing file: ${typed.message}`, { cause: error });
    }
    try {
      for (let at: BlockNode | undefined = child; at; at = at.backing) {
        if (at === node) throw new BlockError('ELOOP', 'Backing chain loops');
      }
      await node.attach('backing', 'backing', child);
    } catch (error) {
      await child.close().catch(() => undefined);
      throw error;
    }
  }

  /** Replaces (or removes, by undefined) the backing node of an open node; the stored name stays as it is. */
  async setBacking(node: GraphNode, backing: GraphNode | undefined): Promise<void> {
    await node.drain();
    await node.detach('backing');
    if (backing) await node.attach('backing', 'backing', backing);
  }

  /** Opens a bare protocol node, read-write and resizable: what `create` writes its headers to. */
  async openProtocol(filename: string, flags: Partial<OpenFlags> = {}, options: OptionDict = {}): Promise<GraphNode> {
    const node = await this.#open(
      filename,
      { ...options },
      undefined,
      { ...defaultOpenFlags, readOnly: false, unmap: true, ...flags },
      { isProtocol: true, allowProbe: false },
    );
    try {
      node.rootUse = await node.acquire(
        'creation',
        Permission.write | Permission.resize | Permission.consistentRead,
        Permission.consistentRead,
      );
    } catch (error) {
      await node.close().catch(() => undefined);
      throw error;
    }
    return node;
  }

  /** Creates an image: `format` a driver's name, options flat and still text. */
  async create(format: string, filename: string, options: OptionDict): Promise<void> {
    const driver = await loadDriver(format);
    if (!driver.create || !driver.createOptions)
      throw new BlockError('ENOTSUP', `Format driver '${format}' does not support image creation`);
    const dict = { ...options };
    const own = takeOptions(driver.createOptions, dict);
    const protocol = driver.kind === 'protocol' ? driver : await this.#protocolFor(filename);
    // What the format doesn't know is for the protocol.
    const protocolDict = { ...dict };
    const left = Object.keys(dict).find((key) => !protocol.createOptions?.some((row) => row.name === key));
    if (left !== undefined) throw new BlockError('EINVAL', `Invalid parameter '${left}'`);
    const made: string[] = [];
    const context: CreateContext = {
      host: this.host,
      filename,
      options: own,
      createFile: async (name, sizeBytes, preallocation) => {
        await this.createProtocol(name, sizeBytes, preallocation, protocolDict);
        made.push(name);
      },
      openProtocol: (name) => this.openProtocol(name),
      openImage: (name, imageFormat, flags) =>
        this.open({ filename: name, ...(imageFormat === undefined ? {} : { format: imageFormat }), flags }),
    };
    try {
      await driver.create(context);
    } catch (error) {
      // Half an image is of no use to anybody.
      for (const name of made) await this.#removeFile(name);
      throw error;
    }
  }

  /** Formats an open node, whose contents go: QEMU's `blockdev-create`. `options` as for `create`. */
  async createOn(format: string, file: GraphNode, options: OptionDict): Promise<void> {
    const driver = await loadDriver(format);
    if (!driver.create || !driver.createOptions)
      throw new BlockError('ENOTSUP', `Driver '${format}' does not support blockdev-create`);
    const dict = { ...options };
    const own = takeOptions(driver.createOptions, dict);
    const [left] = Object.keys(dict);
    if (left !== undefined) throw new BlockError('EINVAL', `Parameter '${left}' is unexpected`);
    const needs = Permission.consistentRead | Permission.write | Permission.resize;
    const use = await file.acquire('creation', needs, Permission.all);
    try {
      await driver.create({
        host: this.host,
        filename: file.filename,
        options: own,
        createFile: async (name, sizeBytes, preallocation) => {
          if (name !== file.filename) return await this.createProtocol(name, sizeBytes, preallocation);
          await file.resize(0);
          await file.resize(sizeBytes, preallocation === undefined ? {} : { preallocation });
        },
        openProtocol: async (name) => (name === file.filename ? file.retain() : await this.openProtocol(name)),
        openImage: async (name, imageFormat, flags) => {
          const format = imageFormat === undefined ? {} : { format: imageFormat };
          if (name !== file.filename) return await this.open({ filename: name, ...format, flags });
          // The format has it from here on.
          await use.release();
          return await this.open({ ...format, options: { file: file.nodeName }, flags });
        },
      });
    } finally {
      await use.release();
    }
  }

  /** Takes away what `createFile` made, if it is a file. */
  async #removeFile(name: string): Promise<void> {
    const path = name.startsWith('file:') ? name.slice('file:'.length) : name;
    if (hasProtocol(path)) return;
    const stat = await this.host.files.stat(path);
    if (stat?.kind === 'regular') await this.host.files.remove(path).catch(() => undefined);
  }

  async #protocolFor(filename: string): Promise<BlockDriver> {
    const kind = hasProtocol(filename) ? undefined : (await this.host.files.stat(filename))?.kind;
    return loadDriver(findProtocol(filename, kind === 'block-device' || kind === 'character-device'));
  }

  /** Options (rows) that creating `format` at `filename` takes, the protocol's included. */
  async createRows(format: string, filename: string | undefined): Promise<readonly OptionRow[]> {
    const driver = await loadDriver(format);
    const rows = [...(driver.createOptions ?? [])];
    if (filename !== undefined && driver.kind !== 'protocol') {
      const protocol = await this.#protocolFor(filename);
      for (const row of protocol.createOptions ?? [])
        if (!rows.some((other) => other.name === row.name)) rows.push(row);
    }
    return rows;
  }

  async createProtocol(
    filename: string,
    sizeBytes: number,
    preallocation?: Preallocation,
    options: OptionDict = {},
  ): Promise<void> {
    const driver = await this.#protocolFor(filename);
    if (!driver.create || !driver.createOptions)
      throw new BlockError('ENOTSUP', `Protocol driver '${driver.name}' does not support image creation`);
    const dict: OptionDict = { ...options, size: sizeBytes };
    if (preallocation !== undefined && preallocation !== 'metadata') dict['preallocation'] = preallocation;
    const values = takeOptions(driver.createOptions, dict);
    const refuse = (): never => {
      throw new BlockError('ENOTSUP');
    };
    await driver.create({
      host: this.host,
      filename,
      options: values,
      createFile: refuse,
      openProtocol: refuse,
      openImage: refuse,
    });
  }
}

/** `json:{…}` that describes the node with its children. */
function jsonFilename(node: GraphNode): string {
  const describe = (at: GraphNode): OptionDict => {
    const all: OptionDict = { ...at.options };
    for (const child of at.children) {
      if (child.role === 'backing') continue;
      for (const [key, value] of Object.entries(describe(child.node))) all[`${child.name}.${key}`] = value;
    }
    return all;
  };
  return `json:${hashedJson(nestOptions(describe(node)))}`;
}

/** What `-blockdev` takes, JSON or `key=value,…`, as a request to open. */
export function blockdevRequest(text: string): OpenRequest {
  if (!text.trimStart().startsWith('{')) return { options: parseOptionString(text, 'driver') };
  return { options: parseJsonFilename(`json:${text}`) };
}

export interface DriveRequest {
  readonly request: OpenRequest;
  /** What concerns the device in front of the image: `if`, `index`, `media`, `id`, `werror`, … */
  readonly device: OptionDict;
  /** `snapshot=on`: writes are to be lost. */
  readonly isTemporary: boolean;
}

const deviceKeys = ['if', 'bus', 'unit', 'index', 'media', 'id', 'serial', 'addr', 'werror', 'rerror', 'boot', 'group'];

/** What `-drive` takes: the image's options apart from the device's. Unmap and read-write are its defaults, as QEMU's. */
export function driveRequest(text: string): DriveRequest {
  const options = parseOptionString(text, 'file');
  const device: OptionDict = {};
  for (const key of deviceKeys) {
    if (options[key] === undefined) continue;
    device[key] = options[key];
    delete options[key];
  }
  const take = (...names: readonly string[]): string | undefined => {
    let found: string | undefined;
    for (const name of names) {
      if (options[name] !== undefined) found = String(options[name]);
      delete options[name];
    }
    return found;
  };
  const isOn = (name: string, value: string | undefined): boolean => {
    return value !== undefined && parseBoolean(name, value);
  };
  const cache = take('cache');
  const fromCache = cache === undefined ? {} : cacheFlags(cache);
  if (!fromCache) throw new BlockError('EINVAL', 'invalid cache option');
  const filename = take('file');
  const format = take('format');
  const readOnly = isOn('readonly', take('readonly', 'read-only')) || device['media'] === 'cdrom';
  const isTemporary = isOn('snapshot', take('snapshot'));
  // Nothing can be stored in a drive that is only read.
  if (readOnly) take('copy-on-read');
  // The host chooses, whichever it is.
  const aio = take('aio');
  if (aio !== undefined && !['threads', 'native', 'io_uring'].includes(aio))
    throw new BlockError('EINVAL', 'invalid aio option');
  return {
    request: {
      ...(filename === undefined ? {} : { filename }),
      ...(format === undefined ? {} : { format }),
      options,
      flags: { ...fromCache, readOnly },
    },
    device,
    isTemporary,
  };
}
