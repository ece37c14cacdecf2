/** The NBD server of a machine, in the thread of its disks: exports of block nodes, with the machine running on them. */
import { BlockError, type GraphNode } from '../block/index.js';
import { listenForNbd, type NbdListener } from '../host/node/nbd-listen.js';
import { NbdServer } from '../nbd/index.js';
import type { NbdExportDescription, NbdExportRequest, NbdRequest } from './disk-protocol.js';

interface Exported {
  readonly id: string;
  readonly name: string;
  readonly node: GraphNode;
  readonly writable: boolean;
}

export interface DiskExportsHost {
  /** The node of a disk, by its id or a node's name. */
  find(disk: string): GraphNode | undefined;
  /** Clients come to write to a node: nobody else may know where its bytes lie. */
  writersCome(): void;
}

export class DiskExports {
  readonly #host: DiskExportsHost;
  #server: NbdServer | undefined;
  #listener: NbdListener | undefined;
  #busy: Promise<void> = Promise.resolve();
  readonly #exported = new Map<string, Exported>();

  constructor(host: DiskExportsHost) {
    this.#host = host;
  }

  /** Clients may come: the thread is not to wait for the machine alone. */
  get isServing(): boolean {
    return this.#server !== undefined;
  }

  get descriptions(): readonly NbdExportDescription[] {
    return [...this.#exported.values()].map(({ id, node }) => ({ id, nodeName: node.nodeName }));
  }

  /** Clients may write. */
  get hasWriters(): boolean {
    return [...this.#exported.values()].some(({ writable }) => writable);
  }

  /** One request after the other. Rejects with BlockError. */
  carryOut(request: NbdRequest): Promise<void> {
    const done = this.#busy.then(() => this.#carryOut(request));
    this.#busy = done.catch(() => {});
    return done;
  }

  async #carryOut(request: NbdRequest): Promise<void> {
    switch (request.op) {
      case 'start':
        return await this.#start(request);
      case 'add':
        return await this.#add(request.exported);
      case 'remove':
        return await this.#remove(request.id, request.force);
      case 'stop':
        if (!this.#server) throw new BlockError('EINVAL', 'NBD server not running');
        return await this.close();
    }
  }

  async #start({ address, maxConnections }: Extract<NbdRequest, { op: 'start' }>): Promise<void> {
    if (this.#server) throw new BlockError('EBUSY', 'NBD server already running');
    const server = new NbdServer({ maxConnections });
    this.#server = server;
    try {
      this.#listener = await listenForNbd(address, (stream, events) => server.serve(stream, events));
    } catch (error) {
      this.#server = undefined;
      throw error;
    }
  }

  async #add({ id, name, disk, description = '', writable = false }: NbdExportRequest): Promise<void> {
    const server = this.#server;
    if (!server) throw new BlockError('EINVAL', 'NBD server not running');
    if (this.#exported.has(id)) throw new BlockError('EEXIST', `Block export id '${id}' is already in use`);
    const node = this.#host.find(disk);
    if (!node) throw new BlockError('ENODEV', `Cannot find device='${disk}' nor node-name='${disk}'`);
    const exported = { id, name, node, writable };
    // Before a client can come: what is written through the export may move what lies elsewhere.
    this.#exported.set(id, exported);
    if (writable) this.#host.writersCome();
    try {
      await server.addExport({ node, name, description, readOnly: !writable, multiConnection: true });
    } catch (error) {
      this.#exported.delete(id);
      throw error;
    }
  }

  async #remove(id: string, force: boolean): Promise<void> {
    const exported = this.#exported.get(id);
    if (!this.#server || !exported) throw new BlockError('ENOENT', `Export '${id}' is not found`);
    if (!force && this.#server.hasClients(exported.name)) throw new BlockError('EBUSY', `export '${id}' still in use`);
    await this.#server.removeExport(exported.name);
    this.#exported.delete(id);
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    await this.#listener?.close();
    this.#listener = undefined;
    try {
      await server.close();
    } finally {
      this.#exported.clear();
    }
  }
}
