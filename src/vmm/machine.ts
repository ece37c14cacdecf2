/**
 * One virtual machine as its owner sees it. The machine runs in a worker thread of its own; here are its requests, streams
 * and events. The owner's event loop is never held: big images go through shared memory, output comes in chunks.
 */
import type { MessagePort } from 'node:worker_threads';
import type { AcceleratorName } from '../accel/index.js';
import { VringError } from '../base/index.js';
import type { TextScreen } from '../display/index.js';
import type { PciFunctionDescription } from '../hw/index.js';
import type { HostForward, UserFlow } from '../net/index.js';
import { abortedError, bounded, type WaitOptions } from './abort.js';
import { announcement } from './announcement.js';
import type { BlockAnswer, BlockRequest } from './block-protocol.js';
import { type CharacterPort, MachinePort } from './character-port.js';
import type { Candidate, Choice } from './choose-accelerator.js';
import type { BlockNodeDescription, DiskImage, NbdExportDescription, NbdRequest } from './disk-protocol.js';
import { type DescribedNodes, type MachineDiskThread, openDisks } from './disks.js';
import { ringDoorbell } from './doorbell.js';
import { HotPlug } from './hotplug.js';
import type { MouseDescription } from './input-routes.js';
import { beginImages } from './kernel-images.js';
import { askToQuit, leaveGuestAtExit, outOfGuest } from './leave-guest.js';
import type { HostPage, LensReport } from './lens-report.js';
import type { Machine, MachineDisk, MachineEvents, MachineState } from './machine-interface.js';
import { architectureOf, type MachineOptions, type PortPlace, planMachine, shareImage } from './machine-options.js';
import type { ForwardChange, HostPort, NetworkOptions } from './network-protocol.js';
import { KnownNetworks, type MachineNetwork, type MachineNetworkThread, openNetworks } from './networks.js';
import { compiledModules } from './routine-modules.js';
import { ScreenThread } from './screen.js';
import type { InputEvent } from './screen-input.js';
import type { PictureFormat, ScreenShares, VncOptions, VncPlace, VncState } from './screen-protocol.js';
import {
  doorbellBytes,
  doorbellWord,
  type FromWorker,
  type InfoTopic,
  type MachineActions,
  type MachineEnd,
  type Request,
  rungBy,
  type Statistics,
  type StopReason,
  type TrayState,
  type WorkerConfig,
} from './worker-protocol.js';
import { type StartWorker, startWorker, type WorkerThread } from './worker-thread.js';

/** A request for memory is cut into pieces of this size, so that the machine is not held. */
const MEMORY_STEP_BYTES = 1 << 20;
/** How long `close` waits for the machine's thread before it is stopped the hard way. */
const QUIT_MS = 1000;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: VringError) => void;
}

class RunningMachine implements Machine {
  description = '';
  state: MachineState = 'ready';
  stopReason: StopReason | undefined;
  readonly warnings: string[] = [];
  accelerator: AcceleratorName = 'tcg';
  readonly acceleratorRefusals: string[] = [];
  readonly ended: Promise<MachineEnd>;
  readonly built: Promise<void>;
  readonly #worker: WorkerThread;
  readonly #doorbell: Int32Array;
  readonly #places: readonly PortPlace[];
  readonly #ports: readonly MachinePort[];
  readonly #requests = new Map<number, Waiting>();
  readonly #listeners = new Map<keyof MachineEvents, Set<(...args: never[]) => void>>();
  readonly #exited: Promise<void>;
  readonly #disks: MachineDiskThread | undefined;
  readonly #shares: ScreenShares | undefined;
  #screen: ScreenThread | undefined;
  /** By VNC: who asks otherwise would start the screen's thread. */
  #isServed = false;
  readonly #known: KnownNetworks;
  #networks: MachineNetworkThread | undefined;
  readonly hotplug: HotPlug;
  #nextId = 1;
  #end: MachineEnd | undefined;
  #failure: VringError | undefined;
  #statistics: Statistics | undefined;
  /** Of disks that have stopped it. */
  readonly #troubles = new Map<string, 'failed' | 'no-space'>();
  #lens: LensReport | undefined;
  #built = false;
  /** A reset that the owner asked for is on its way. */
  #ownerResets = false;
  #onBuilt!: { resolve: () => void; reject: (error: VringError) => void };
  #onEnded!: { resolve: (end: MachineEnd) => void; reject: (error: VringError) => void };

  constructor(
    start: StartWorker,
    name: string,
    places: readonly PortPlace[],
    config: Omit<WorkerConfig, 'streams' | 'doorbell' | 'modules' | 'disks' | 'networks'>,
    doorbell: SharedArrayBuffer,
    disks: MachineDiskThread | undefined,
    networks: MachineNetworkThread | undefined,
    known: KnownNetworks,
  ) {
    this.#known = known;
    this.#disks = disks;
    this.hotplug = new HotPlug(
      disks,
      config.devices,
      known,
      {
        open: (place, options) => this.#openNetwork(place, options),
        close: (place) => this.#closeNetwork(place),
      },
      (request) => this.#request(request, {}),
    );
    this.hotplug.onGone = (device, type) => this.#emit('unplugged', device, type);
    this.#shares = config.screen;
    if (networks) this.#watchNetworks(networks);
    disks?.onReport((line) => this.#warn(line));
    disks?.onJobEvent((event) => this.#emit('job', event));
    disks?.onThresholdExceeded((exceeded) => this.#emit('thresholdExceeded', exceeded));
    disks?.onFailure((error) => {
      this.#failure ??= error;
      this.#quit();
    });
    this.#doorbell = new Int32Array(doorbell);
    this.#places = places;
    this.#ports = places.map((place) => {
      const resize = (columns: number, rows: number) => {
        if (place.kind === 'console') this.#send({ type: 'resize', port: place.index, columns, rows });
      };
      return new MachinePort(portName(place), { ring: () => this.#ring(), resize });
    });
    this.built = new Promise((resolve, reject) => {
      this.#onBuilt = { resolve, reject };
    });
    this.ended = new Promise((resolve, reject) => {
      this.#onEnded = { resolve, reject };
    });
    // Whoever waits for it sees the failure; nobody has to.
    this.ended.catch(() => {});
    this.built.catch(() => {});
    this.#worker = start(
      {
        ...config,
        streams: this.#ports.map(({ rings }) => rings),
        doorbell,
        modules: compiledModules,
        disks: disks?.config,
        networks: networks?.config,
      },
      name,
    );
    this.#worker.on('message', (message) => this.#hear(message));
    this.#worker.on('error', (error) => {
      const memory = (error as { code?: string }).code === 'ERR_WORKER_OUT_OF_MEMORY';
      this.#failure ??= memory
        ? new VringError('host-memory', "The machine's thread ran out of memory.", { cause: error })
        : new VringError('internal', `The machine's thread has failed: ${error.message}`, { cause: error });
    });
    const ended = leaveGuestAtExit(this.#doorbell);
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        ended();
        // The end is told when what was written is in the images.
        void Promise.all([this.#disks?.close(), this.#screen?.close(), this.#networks?.close()]).then(() => {
          this.#finish();
          resolve();
        });
      });
    });
  }

  async start(): Promise<void> {
    await this.resume();
  }

  async pause(options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'pause' }, options);
    this.#setState('paused');
  }

  async resume(options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'resume' }, options);
    this.#setState('running');
  }

  async reset(options?: WaitOptions): Promise<void> {
    this.#ownerResets = true;
    await this.#request({ type: 'reset' }, options);
  }

  async pressPowerButton(options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'powerButton' }, options);
    this.#emit('powerButton');
  }

  async injectNmi(options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'nmi' }, options);
  }

  async sendBreak(serial = 0, options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'break', serial }, options);
  }

  powerOff(options: WaitOptions = {}): Promise<MachineEnd> {
    this.#quit();
    return bounded(this.ended, options, () => new VringError('timeout', 'The machine did not end in time.'));
  }

  serial(index = 0): CharacterPort {
    return this.#find(`serial port ${index}`, (place) => place.kind === 'serial' && place.index === index);
  }

  console(which: string | number): CharacterPort {
    return this.#find(
      `console port ${which}`,
      (place) => place.kind === 'console' && (typeof which === 'number' ? place.index === which : place.name === which),
    );
  }

  debugConsole(): CharacterPort {
    return this.#find('isa-debugcon device', (place) => place.kind === 'debugcon');
  }

  semihosting(of: 'output' | 'console'): CharacterPort {
    return this.#find('semihosting', (place) => place.kind === 'semihosting' && place.of === of);
  }

  gdb(): CharacterPort {
    return this.#find('gdb stub', (place) => place.kind === 'gdb');
  }

  async readMemory(gpa: number, length: number, options?: WaitOptions): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += MEMORY_STEP_BYTES) {
      const step = Math.min(MEMORY_STEP_BYTES, length - at);
      bytes.set((await this.#request({ type: 'readMemory', gpa: gpa + at, length: step }, options)) as Uint8Array, at);
    }
    return bytes;
  }

  async writeMemory(gpa: number, bytes: Uint8Array, options?: WaitOptions): Promise<void> {
    for (let at = 0; at < bytes.length; at += MEMORY_STEP_BYTES) {
      const step = bytes.slice(at, at + MEMORY_STEP_BYTES);
      await this.#request({ type: 'writeMemory', gpa: gpa + at, bytes: step }, options);
    }
  }

  async translateAddress(gva: bigint, options?: WaitOptions): Promise<number | undefined> {
    const gpa = (await this.#request({ type: 'translate', gva }, options)) as bigint | undefined;
    return gpa === undefined ? undefined : Number(gpa);
  }

  async disassemble(gva: bigint, count: number, options?: WaitOptions): Promise<readonly string[]> {
    return (await this.#request({ type: 'disassemble', gva, count }, options)) as string[];
  }

  async readPort(port: number, size: 1 | 2 | 4, options?: WaitOptions): Promise<number> {
    return (await this.#request({ type: 'readPort', port: port & 0xffff, size }, options)) as number;
  }

  async writePort(port: number, size: 1 | 2 | 4, value: number, options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'writePort', port: port & 0xffff, size, value: value >>> 0 }, options);
  }

  async deviceTree(options?: WaitOptions): Promise<Uint8Array | undefined> {
    return (await this.#request({ type: 'deviceTree' }, options)) as Uint8Array | undefined;
  }

  async registers(options?: WaitOptions): Promise<Readonly<Record<string, bigint>>> {
    return (await this.#request({ type: 'registers' }, options)) as Record<string, bigint>;
  }

  async selectCpu(cpu: number, options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'selectCpu', cpu }, options);
  }

  async disks(options: WaitOptions = {}): Promise<readonly MachineDisk[]> {
    if (this.state === 'ended') throw this.#endError();
    if (!this.#disks) return [];
    const disks = await this.#diskAnswer(this.#disks.describe(), options);
    const present = disks.flatMap((disk, i) =>
      disk ? [{ ...disk, trouble: this.#troubles.get(disk.id), place: i }] : [],
    );
    if (!present.some(({ removable }) => removable)) return present.map(({ place: _place, ...disk }) => disk);
    const trays = (await this.#request({ type: 'trays' }, options)) as readonly TrayState[];
    return present.map(({ place, ...disk }) => ({ ...disk, tray: trays.find((tray) => tray.disk === place) }));
  }

  #diskAnswer<T>(answer: Promise<T>, options: WaitOptions): Promise<T> {
    return bounded(answer, options, () => new VringError('timeout', "The machine's disks do not answer."));
  }

  async #describeNodes(options: WaitOptions = {}): Promise<DescribedNodes> {
    if (this.state === 'ended') throw this.#endError();
    if (!this.#disks) return { nodes: [], exports: [] };
    return await this.#diskAnswer(this.#disks.describeNodes(), options);
  }

  async blockNodes(options?: WaitOptions): Promise<readonly BlockNodeDescription[]> {
    return (await this.#describeNodes(options)).nodes;
  }

  async nbdExports(options?: WaitOptions): Promise<readonly NbdExportDescription[]> {
    return (await this.#describeNodes(options)).exports;
  }

  async nbd(request: NbdRequest): Promise<void> {
    if (this.state === 'ended') throw this.#endError();
    if (!this.#disks) throw new VringError('no-disks', 'The machine was made without disks.');
    await this.#disks.nbd(request);
  }

  async block<R extends BlockRequest>(request: R): Promise<BlockAnswer<R>> {
    if (this.state === 'ended') throw this.#endError();
    if (!this.#disks) throw new VringError('no-disks', 'The machine was made without disks.');
    const answer = await this.#disks.block(request);
    if (request.op === 'resize') await this.#resized(request.disk);
    return answer;
  }

  /** The guest is told, where its device can tell. */
  async #resized(name: string): Promise<void> {
    const disks = (await this.#disks?.describe()) ?? [];
    for (const [disk, each] of disks.entries())
      if (each && (each.id === name || each.nodeName === name)) await this.#request({ type: 'diskResized', disk }, {});
  }

  #diskPlace(id: string): number {
    const disk = this.#disks?.config.disks.findIndex((each) => each.id === id && id !== '') ?? -1;
    if (disk < 0) throw new VringError('no-such-disk', `Device '${id}' not found`);
    return disk;
  }

  async #removable(id: string, options?: WaitOptions): Promise<MachineDisk> {
    const known = (await this.disks(options)).find((each) => each.id === id);
    if (!known?.removable) throw new VringError('disk-fixed', `Device '${id}' is not removable`);
    return known;
  }

  async #openTray(id: string, options: WaitOptions & { readonly force?: boolean }): Promise<number> {
    const disk = this.#diskPlace(id);
    const force = options.force ?? false;
    await this.#removable(id, options);
    const tray = (await this.#request({ type: 'eject', disk, force }, options)) as TrayState;
    if (tray.open) return disk;
    throw new VringError('disk-locked', `The guest holds the tray of '${id}'; it has been asked to let it go.`);
  }

  async openTray(id: string, options: WaitOptions & { readonly force?: boolean } = {}): Promise<void> {
    await this.#openTray(id, options);
  }

  async closeTray(id: string, options?: WaitOptions): Promise<void> {
    const disk = this.#diskPlace(id);
    const known = await this.#removable(id, options);
    if (known.tray?.open) await this.#request({ type: 'mediumChanged', disk }, options);
  }

  /** What is in a drive, whose tray is open as far as it has one, is changed by hand. */
  async #exchange(id: string, image: DiskImage | undefined, options?: WaitOptions): Promise<void> {
    const disk = this.#diskPlace(id);
    const known = await this.#removable(id, options);
    if (known.tray?.open === false) throw new VringError('disk-tray', `Tray of device '${id}' is not open`);
    if (image && known.inserted) throw new VringError('disk-tray', `There already is a medium in device '${id}'`);
    await this.#disks?.change(disk, image);
    // A drive without a tray sees it at once.
    if (!known.tray) await this.#request({ type: 'mediumChanged', disk }, options);
  }

  insertMedium(id: string, node: string, options?: WaitOptions): Promise<void> {
    return this.#exchange(id, { node }, options);
  }

  removeMedium(id: string, options?: WaitOptions): Promise<void> {
    return this.#exchange(id, undefined, options);
  }

  async ejectMedium(id: string, options: WaitOptions & { readonly force?: boolean } = {}): Promise<void> {
    const disk = await this.#openTray(id, options);
    await this.#disks?.change(disk, undefined);
  }

  async detachDrive(id: string, options?: WaitOptions): Promise<void> {
    const disk = this.#diskPlace(id);
    await this.#disks?.detach(disk);
    await this.#request({ type: 'driveGone', disk }, options);
  }

  async changeMedium(
    id: string,
    image: DiskImage,
    options: WaitOptions & { readonly force?: boolean } = {},
  ): Promise<void> {
    const disk = this.#diskPlace(id);
    await this.#removable(id, options);
    // First: a drive keeps what it has, and its tray stays as it is, where the new medium cannot be opened.
    await this.#disks?.prepare(disk, image);
    try {
      await this.#openTray(id, options);
    } catch (error) {
      await this.#disks?.prepare(disk, undefined);
      throw error;
    }
    await this.#disks?.change(disk, 'prepared');
    await this.#request({ type: 'mediumChanged', disk }, options);
  }

  get networks(): readonly MachineNetwork[] {
    return this.#known.described;
  }

  async balloon(ramBytes?: number, options?: WaitOptions): Promise<number> {
    return (await this.#request({ type: 'balloon', ramBytes }, options)) as number;
  }

  #watchNetworks(networks: MachineNetworkThread): void {
    this.#networks = networks;
    networks.onReport((line) => this.#warn(line));
    networks.onFailure((error) => {
      this.#failure ??= error;
      this.#quit();
    });
  }

  async #openNetwork(network: number, options: NetworkOptions): Promise<void> {
    if (this.state === 'ended') throw this.#endError();
    if (!this.#networks) {
      const thread = openNetworks([], this.#doorbell.buffer as SharedArrayBuffer);
      this.#watchNetworks(thread);
      const { config } = thread;
      await this.#request({ type: 'networks', config }, {}, [config.port]);
    }
    const rings = await (this.#networks as MachineNetworkThread).add(network, options);
    await this.#request({ type: 'addNetwork', network, rings });
  }

  async #closeNetwork(network: number): Promise<void> {
    await this.#request({ type: 'removeNetwork', network });
    await this.#networks?.remove(network);
  }

  async setLink(network: string, up: boolean, options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'setLink', network: this.#known.find(network), up }, options);
  }

  async addHostForward(network: string, forward: HostForward): Promise<void> {
    await this.#changeForward(network, { add: forward });
  }

  async removeHostForward(network: string, { protocol, hostAddress, hostPort }: HostPort): Promise<boolean> {
    return await this.#changeForward(network, { remove: { protocol, hostAddress, hostPort } });
  }

  async announce(network: string): Promise<void> {
    const index = this.#known.find(network);
    if (!this.#networks || this.state === 'ended') throw this.#endError();
    const mac = this.networks.find(({ id }) => id === network)?.card?.mac;
    if (mac !== undefined) await this.#networks.send(index, announcement(mac));
  }

  async networkFlows(network: string): Promise<readonly UserFlow[]> {
    const index = this.#known.find(network);
    if (!this.#networks || this.state === 'ended') throw this.#endError();
    return await this.#networks.flows(index);
  }

  async #changeForward(network: string, change: ForwardChange): Promise<boolean> {
    const index = this.#known.find(network);
    if (!this.#networks || this.state === 'ended') throw this.#endError();
    return await this.#networks.changeForward(index, change);
  }

  #needScreen(): ScreenThread {
    if (this.state === 'ended') throw this.#endError();
    if (!this.#screen) throw new VringError('no-screen', 'The machine has no screen: that takes a VGA.');
    return this.#screen;
  }

  async screendump(format: PictureFormat): Promise<Uint8Array> {
    return await this.#needScreen().picture(format);
  }

  async screenText(): Promise<TextScreen | undefined> {
    return await this.#needScreen().text();
  }

  async serveVnc(options: VncOptions): Promise<VncPlace> {
    const place = await this.#needScreen().serveVnc(options);
    this.#isServed = true;
    return place;
  }

  async vncState(): Promise<VncState | undefined> {
    return this.#isServed ? await this.#needScreen().vncState() : undefined;
  }

  async setVncPassword(password: Uint8Array | undefined): Promise<void> {
    await this.#needScreen().setVncPassword(password);
  }

  async sendInput(events: readonly InputEvent[], options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'input', events }, options);
  }

  async hostPage(gpa: number, options?: WaitOptions): Promise<HostPage> {
    return (await this.#request({ type: 'hostPage', gpa }, options)) as HostPage;
  }

  async lens(options?: WaitOptions): Promise<LensReport | undefined> {
    if (this.#statistics) return this.#lens;
    return (await this.#request({ type: 'lens' }, options)) as LensReport | undefined;
  }

  async statistics(options?: WaitOptions): Promise<Statistics> {
    return this.#statistics ?? ((await this.#request({ type: 'statistics' }, options)) as Statistics);
  }

  async setAccelerator(name: AcceleratorName, options?: WaitOptions): Promise<void> {
    const { debuggingOn } = await import('./choose-accelerator.js');
    await this.#request({ type: 'accelerator', name, debug: debuggingOn(name) }, options);
    this.accelerator = name;
  }

  /** The first of a choice that works takes the vCPU up. Throws VringError `no-accelerator`. */
  async settle(choice: Choice, options?: WaitOptions): Promise<void> {
    this.acceleratorRefusals.push(...choice.refusals);
    for (const { name, cpu, tscHz, debug } of choice.candidates) {
      try {
        if (name !== 'tcg') {
          const request = { type: 'accelerator', name, cpu, tscHz, debug } as const;
          this.acceleratorRefusals.push(...((await this.#request(request, options)) as readonly string[]));
        }
        this.accelerator = name;
        return;
      } catch (error) {
        if (!(error instanceof VringError) || !isRefusal(error)) throw error;
        this.acceleratorRefusals.push(`KVM not used: ${error.message}`);
      }
    }
    throw new VringError('no-accelerator', this.acceleratorRefusals.join('; '));
  }

  async mice(options?: WaitOptions): Promise<readonly MouseDescription[]> {
    return (await this.#request({ type: 'mice' }, options)) as readonly MouseDescription[];
  }

  async pci(options?: WaitOptions): Promise<readonly PciFunctionDescription[]> {
    return (await this.#request({ type: 'pci' }, options)) as readonly PciFunctionDescription[];
  }

  async setBootDevices(devices: string, options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'setBootDevices', devices }, options);
  }

  async setActions(actions: MachineActions, options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'setActions', actions }, options);
  }

  async chooseMouse(index: number, options?: WaitOptions): Promise<void> {
    await this.#request({ type: 'chooseMouse', index }, options);
  }

  async info(topic: InfoTopic, options?: WaitOptions): Promise<string> {
    return (await this.#request({ type: 'info', topic }, options)) as string;
  }

  on<K extends keyof MachineEvents>(event: K, listener: MachineEvents[K]): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  async close(): Promise<void> {
    this.#quit();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), QUIT_MS);
    });
    const outcome = await Promise.race([this.#exited, late]);
    clearTimeout(timer);
    if (outcome === 'late') {
      await outOfGuest(this.#doorbell);
      await this.#worker.terminate();
      await this.#exited;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Stops the thread without asking it. */
  async abandon(): Promise<void> {
    await this.#worker.terminate();
    await this.#exited;
  }

  #emit<K extends keyof MachineEvents>(event: K, ...args: Parameters<MachineEvents[K]>): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(...(args as never[]));
  }

  #warn(line: string): void {
    if (this.#built) this.#emit('warning', line);
    else this.warnings.push(line);
  }

  #setState(state: MachineState): void {
    if (state !== 'paused') {
      this.stopReason = undefined;
      this.#troubles.clear();
    }
    if (this.state === state || this.state === 'ended') return;
    this.state = state;
    this.#emit('state', state);
  }

  #find(what: string, is: (place: PortPlace) => boolean): MachinePort {
    const at = this.#places.findIndex(is);
    if (at < 0) throw new VringError('no-such-port', `The machine has no ${what}.`);
    return this.#ports[at];
  }

  #ring(): void {
    ringDoorbell(this.#doorbell, rungBy.owner);
  }

  #quit(): void {
    askToQuit(this.#doorbell);
  }

  #endError(): VringError {
    return this.#failure ?? new VringError('machine-ended', 'The machine has ended.');
  }

  #request(request: Request, options: WaitOptions = {}, transfer: readonly MessagePort[] = []): Promise<unknown> {
    if (options.signal?.aborted) return Promise.reject(abortedError(options.signal));
    if (this.state === 'ended') return Promise.reject(this.#endError());
    const id = this.#nextId++;
    const reply = new Promise<unknown>((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
    });
    this.#worker.postMessage({ id, request }, transfer);
    this.#ring();
    const late = () => new VringError('timeout', 'The machine does not answer.');
    return bounded(reply, options, late, () => this.#requests.delete(id));
  }

  /** A request whose answer nobody needs. */
  #send(request: Request): void {
    this.#request(request).catch(() => {});
  }

  #hear(message: FromWorker): void {
    switch (message.type) {
      case 'module':
        compiledModules.set(message.key, message.module);
        return;
      case 'ready':
        this.description = message.description;
        if (message.screen && this.#shares) {
          const doorbell = this.#doorbell.buffer as SharedArrayBuffer;
          this.#screen = new ScreenThread({ ...message.screen, ...this.#shares, doorbell });
        }
        this.#built = true;
        this.#onBuilt.resolve();
        return;
      case 'reply': {
        const waiting = this.#requests.get(message.id);
        this.#requests.delete(message.id);
        if (message.error) waiting?.reject(new VringError(message.error.code, message.error.message));
        else waiting?.resolve(message.value);
        return;
      }
      case 'output':
        this.#ports[message.stream]?.drain();
        return;
      case 'inputSpace':
        this.#ports[message.stream]?.inputSpace();
        return;
      case 'stopped':
        this.stopReason = message.why;
        this.#setState('paused');
        this.#emit('stopped', message.why);
        return;
      case 'reset':
        this.#emit('reset', this.#ownerResets);
        this.#ownerResets = false;
        return;
      case 'panicked':
        this.#emit('panicked', message.action);
        return;
      case 'crashLoaded':
        this.#emit('crashLoaded');
        return;
      case 'watchdog':
        this.#emit('watchdog', message.action);
        return;
      case 'unplugged':
        void this.hotplug.unplugged(message.device);
        return;
      case 'tray':
        this.#emit('trayMoved', this.#disks?.config.disks[message.disk].id ?? '', message.open);
        return;
      case 'diskError': {
        const { disk, ...error } = message.error;
        const id = this.#disks?.config.disks[disk]?.id ?? '';
        if (error.action === 'stop') this.#troubles.set(id, error.noSpace ? 'no-space' : 'failed');
        this.#emit('diskError', id, error);
        return;
      }
      case 'log':
        this.#emit('log', message.line);
        return;
      case 'guestOpened': {
        const at = this.#places.findIndex((place) => place.kind === 'console' && place.index === message.port);
        if (at >= 0) this.#emit('portOpened', this.#ports[at], message.open);
        return;
      }
      case 'end':
        this.#end = message.end;
        this.#statistics = message.statistics;
        this.#lens = message.lens;
        return;
      case 'failed':
        this.#failure = new VringError(message.code, message.message, message.detail ? { cause: message.detail } : {});
    }
  }

  /** The thread is gone. */
  #finish(): void {
    const end = this.#end;
    if (end === undefined && this.#failure === undefined && Atomics.load(this.#doorbell, doorbellWord.quit) === 0) {
      this.#failure = new VringError('internal', "The machine's thread has ended without a word.");
    }
    this.#setState('ended');
    const error = this.#endError();
    for (const port of this.#ports) port.end(error);
    for (const { reject } of this.#requests.values()) reject(error);
    this.#requests.clear();
    this.#onBuilt.reject(error);
    if (this.#failure) {
      this.#onEnded.reject(this.#failure);
      this.#emit('failed', this.#failure);
    } else {
      this.#onEnded.resolve(end ?? { why: 'quit' });
      this.#emit('ended', end ?? { why: 'quit' });
    }
    this.#listeners.clear();
  }
}

/** An accelerator is not to be had; anything else is a failure. */
function isRefusal({ code }: VringError): boolean {
  return code.startsWith('kvm-') || code === 'accelerator';
}

function portName(place: PortPlace): string {
  switch (place.kind) {
    case 'serial':
      return `serial${place.index}`;
    case 'console':
      return place.name ?? `${place.isConsole ? 'console' : 'port'}${place.index}`;
    case 'debugcon':
      return 'debugcon';
    case 'semihosting':
      return `semihosting-${place.of}`;
    case 'gdb':
      return 'gdb';
  }
}

/** As `createMachine`, with another way to start a thread. */
export async function createMachineWith(
  start: StartWorker,
  options: MachineOptions,
  wait: WaitOptions = {},
): Promise<Machine> {
  if (wait.signal?.aborted) throw abortedError(wait.signal);
  const { places, disks: diskConfigs, flash, config } = planMachine(options);
  const shared = async (image: string | Uint8Array | undefined) =>
    image === undefined ? undefined : await shareImage(image, wait.signal);
  const givenKernel = await shared(options.kernel);
  const firmware = options.firmware && {
    ...options.firmware,
    image: await shared(options.firmware.image),
    flash,
  };
  const deviceTree = await shared(options.deviceTree);
  const givenInitrd = await shared(options.initrd);
  if (wait.signal?.aborted) throw abortedError(wait.signal);
  const [kernel, initrd] = beginImages([givenKernel, givenInitrd]);
  const doorbell = new SharedArrayBuffer(doorbellBytes);
  // Both threads start at once: the images are opened while the machine is built.
  const disks =
    diskConfigs.length === 0 &&
    !options.disksMayCome &&
    (options.blockNodes ?? []).length === 0 &&
    !config.devices.some(({ type }) => type === 'virtio-scsi' || type === 'usb')
      ? undefined
      : openDisks({
          disks: diskConfigs,
          blockNodes: options.blockNodes ?? [],
          secrets: options.secrets ?? {},
          objects: options.blockObjects ?? {},
          doorbell,
        });
  const networks = options.networks?.length ? openNetworks(options.networks, doorbell) : undefined;
  const machine = new RunningMachine(
    start,
    options.name ?? 'vcpu0',
    places,
    { ...config, kernel, initrd, firmware, deviceTree },
    doorbell,
    disks,
    networks,
    new KnownNetworks(options.networks ?? [], config.devices),
  );
  try {
    // While the machine is built it is found out what can run it.
    const choice = choose(options);
    const built = Promise.all([Promise.all([disks?.opened, networks?.opened]).then(() => machine.built), choice]);
    await bounded(built, wait, () => new VringError('timeout', 'The machine was not built in time.'));
    await machine.settle(await choice, wait);
  } catch (error) {
    await machine.abandon();
    throw error;
  }
  return machine;
}

async function choose(options: MachineOptions): Promise<Choice> {
  const architecture = architectureOf(options);
  const wishes = options.accelerators ?? architecture.accelerators;
  if (!architecture.accelerators.includes('kvm')) {
    const refusals = wishes.includes('kvm') ? [`KVM not used: it runs no ${architecture.name} guests here`] : [];
    return { candidates: wishes.filter((name) => name !== 'kvm').map((name) => ({ name })), refusals };
  }
  // Nothing to ask of KVM, whose code is not loaded then; the model `host` is its alone.
  if (wishes[0] === 'tcg' && !options.cpu?.toLowerCase().startsWith('host'))
    return { candidates: [{ name: 'tcg' }] satisfies Candidate[], refusals: [] };
  const { chooseAccelerator } = await import('./choose-accelerator.js');
  return chooseAccelerator({
    wishes,
    cpu: options.cpu === undefined ? undefined : architecture.cpuOption(options.cpu),
    defaultCpu: architecture.cpuOption(architecture.defaultCpu),
    takesSlow: options.takesSlowKvm,
    needsTranslator: options.icount
      ? 'counted time (icount)'
      : options.trace
        ? 'a log of what is translated'
        : undefined,
  });
}

/**
 * Builds a machine: RAM, devices, the kernel loaded. It stands still until `start`.
 *
 * Throws VringError: `options-invalid`, `ram-size`, `ram-unavailable`, `image-open`, `image-too-large`, `disk-open`, `pci-full`,
 * `pci-slot`, `console-ports`, `no-accelerator`, `firmware-size`, `fw-cfg`, `boot-devices`, what the kernel's loader (`BOOT_…`) and the CPU model's parser throw, `aborted`, `timeout`.
 */
export function createMachine(options: MachineOptions, wait?: WaitOptions): Promise<Machine> {
  return createMachineWith(startWorker, options, wait);
}
