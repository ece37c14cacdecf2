/** Builds the devices of a machine's configuration, in the machine's thread. */
import { assert, VringError } from '../base/index.js';
import type { Device } from '../bus/index.js';
import type { ScreenFrame } from '../display/index.js';
import { openSharedFolder } from '../host/node/shared-folder.js';
import {
  AtaDisk,
  type AtaDrive,
  AtapiDrive,
  addExpressCapability,
  type ConsolePort,
  type ConsolePortSpec,
  type DriveBackend,
  E1000,
  FloppyDrive,
  type HostFolder,
  I6300Esb,
  Ich9Ahci,
  mostTagBytes,
  Ne2000Isa,
  Ne2000Pci,
  NvmeController,
  NvmeNamespace,
  type OptionRom,
  type PanicEvent,
  type PciBus,
  PcieRootPort,
  type PciFunction,
  PcTestdev,
  PVPANIC_PORT,
  PvpanicPci,
  Rtl8139,
  ScsiCd,
  ScsiDisk,
  type ScsiUnit,
  Virtio9p,
  VirtioBalloon,
  VirtioBlock,
  VirtioConsole,
  VirtioDevice,
  VirtioEntropy,
  VirtioGpu,
  type VirtioInputKind,
  type VirtioModel,
  VirtioNet,
  VirtioPci,
  VirtioScsi,
  virtioType,
  wireIsaDebugcon,
  wireIsaDebugExit,
  wirePcTestdev,
  wirePvpanic,
} from '../hw/index.js';
import type { DeviceBoard } from '../machine/board.js';
import type { StateArena } from '../schema/index.js';
import { BootOrder } from './boot-order.js';
import type { MachineDisks } from './disk-backend.js';
import type { InputRoutes } from './input-routes.js';
import type { MachineNetworks } from './network-backend.js';
import { claimOptionRom, readOptionRom } from './option-rom.js';
import { makeVga, makeVirtioVga } from './screen-device.js';
import type { ScreenMemory } from './screen-protocol.js';
import { UsbBuses } from './usb-buses.js';
import { makeUsbController, type UsbHost, usbBootPath } from './usb-devices.js';
import type { UsbControllerConfig, UsbPort } from './usb-options.js';
import type {
  ConsolePortConfig,
  DeviceConfig,
  DriveConfig,
  PciSlot,
  ScsiPlace,
  ScsiUnitConfig,
  TrayState,
  VirtioPlace,
} from './worker-protocol.js';
import type { WorkerStream } from './worker-streams.js';

/** Commands that a SATA disk queues. */
const AHCI_QUEUE_DEPTH = 32;

/** Where a PCI function is plugged in, and firmware's path of it. */
interface Spot {
  readonly bus: PciBus;
  readonly slot: number;
  /** By which the place is known to be taken. */
  readonly key: string;
  /** Of what it is behind. */
  readonly port: PcieRootPort | undefined;
  path(kind: string): string;
}

/** A drive whose media come and go, for the machine's owner. */
interface RemovableDrive {
  readonly backend: DriveBackend;
  /** Undefined: it has no tray. */
  readonly isOpen: boolean | undefined;
  readonly isLocked: boolean;
  /** False: the guest holds the medium, and was asked to let it go. */
  pressEject(force: boolean): boolean;
  mediumChanged(): void;
}

export interface DeviceHost {
  readonly streams: readonly WorkerStream[];
  readonly disks: MachineDisks | undefined;
  /** Where a screen's registers lie; present where there is one. */
  readonly sharedState: StateArena | undefined;
  readonly frame: ScreenFrame | undefined;
  readonly input: InputRoutes;
  readonly networks: MachineNetworks | undefined;
  randomBits(): bigint;
  log(line: string): void;
  /** The guest has given up these pages. */
  discard(gpa: number, sizeBytes: number): void;
  /** The guest has let a device go, by its name. */
  unplugged(device: string): void;
  /** The guest tells of a crash of its kernel. */
  panicEvent(event: PanicEvent): void;
  watchdogExpired(): void;
  /** A console port of the machine, counted over all its devices, has been opened or closed by the guest. */
  guestOpened(port: number, open: boolean): void;
}

/** A port of a console device with the stream behind it: keeps what the guest had no room for. */
export class PluggedPort {
  readonly port: ConsolePort;
  readonly #stream: WorkerStream;
  #waiting: Uint8Array | undefined;
  #ended = false;

  constructor(port: ConsolePort, stream: WorkerStream) {
    this.port = port;
    this.#stream = stream;
  }

  /** Hands waiting input to the guest, as far as it has room. */
  pump(): void {
    while (this.port.guestOpen) {
      this.#waiting ??= this.#stream.take(4096);
      if (this.#waiting.length > 0) {
        const took = this.port.input(this.#waiting);
        if (took < this.#waiting.length) {
          this.#waiting = this.#waiting.subarray(took);
          return;
        }
      }
      this.#waiting = undefined;
      if (this.#stream.input.available === 0) break;
    }
    if (this.#ended || this.#waiting !== undefined || !this.#stream.inputEnded) return;
    this.#ended = true;
    // A console has no end; a plain port's reader is to see one.
    if (!this.port.isConsole) this.port.setHostOpen(false);
  }

  /** After power-on or reset. */
  open(): void {
    if (!this.#ended || this.port.isConsole) this.port.setHostOpen(true);
  }
}

interface PluggedScsi {
  readonly model: VirtioScsi;
  readonly config: DeviceConfig;
  /** Firmware's. */
  readonly path: string;
}

type PluggedUsbBus = Omit<PluggedScsi, 'model'>;

const scsiBootPath = (path: string, { target, lun }: ScsiPlace): string =>
  `${path}/channel@0/disk@${target.toString(16)},${lun.toString(16)}`;

export class MachineDevices {
  /** Where the screen's memory lies. */
  screen: Omit<ScreenMemory, 'memory' | 'hasKeyboard'> | undefined;
  /** In the order of the configuration, whatever order they are plugged in. */
  readonly ports: PluggedPort[] = [];
  #balloon: VirtioBalloon | undefined;
  readonly usb: UsbBuses;
  readonly #usbHost: UsbHost;
  /** Place of a device's first port among all. */
  readonly #firstPorts = new Map<DeviceConfig, number>();
  /** Firmware's paths of devices that have a boot index. */
  readonly #boot = new BootOrder();
  /** SCSI controllers by their ids. */
  readonly #scsi = new Map<string, PluggedScsi>();
  /** USB buses, by where their controllers are to firmware. */
  readonly #usbPaths = new Map<string, PluggedUsbBus>();
  /** Drives with removable media, by their disk. */
  readonly #removable = new Map<number, RemovableDrive>();
  /** Folders of the host that the guest sees. */
  readonly #folders: HostFolder[] = [];
  /** virtio disks, by their place among the disks. */
  readonly #virtioDisks = new Map<number, VirtioBlock>();
  readonly #rootPorts = new Map<string, { readonly port: PcieRootPort; readonly path: string }>();
  /** PCI devices beside the board's own, in the order in which they came. */
  readonly #plugged: PluggedDevice[] = [];
  /** Names and places that are in use. */
  readonly #taken = new Set<string>();
  readonly #host: DeviceHost;

  constructor(host: DeviceHost) {
    this.#host = host;
    this.#usbHost = {
      input: host.input,
      unit: ({ drive, id, serial, removable }) => {
        assert(drive, 'a USB disk has a drive');
        const deviceId = serial ?? id ?? 'usb-storage';
        return this.#scsiUnit({ ...drive, serial, deviceId, target: 0, lun: 0, removable });
      },
    };
    this.usb = new UsbBuses(this.#usbHost);
  }

  /** The drive of a disk. Throws VringError `disk-fixed`. */
  removableDrive(disk: number): RemovableDrive {
    const drive = this.#removable.get(disk);
    if (!drive) throw new VringError('disk-fixed', 'The medium of this disk cannot be changed.');
    return drive;
  }

  /** The machine has ended. */
  close(): void {
    for (const folder of this.#folders) folder.close();
  }

  /** The guest is told of a disk's new size, where its device can tell; others it asks by itself. */
  diskResized(disk: number): void {
    this.#virtioDisks.get(disk)?.resized();
  }

  get trays(): readonly TrayState[] {
    return [...this.#removable].flatMap(([disk, { isOpen, isLocked }]) =>
      isOpen === undefined ? [] : [{ disk, open: isOpen, locked: isLocked }],
    );
  }

  /** Open Firmware paths of what can be booted from, first choice first. */
  get bootOrder(): readonly string[] {
    return this.#boot.paths;
  }

  /** Throws VringError `pci-full`, `pci-slot`, `disk-open`, `console-ports`. */
  plugAll(board: DeviceBoard, devices: readonly DeviceConfig[]): void {
    const taken = this.#taken;
    board.onEject = (slot) => this.#eject(board, (each) => each.spot.bus === board.pci.bus && each.spot.slot === slot);
    const placed = (device: DeviceConfig) => 'slot' in device && device.slot !== undefined;
    let ports = 0;
    for (const device of devices) {
      this.#firstPorts.set(device, ports);
      if (device.type === 'virtio-serial') ports += device.ports.length;
    }
    this.#addRootPorts(board, devices, taken);
    // Those with a place of their own come first, so that no other takes it.
    for (const device of devices) if (placed(device)) this.#plug(board, device, taken);
    for (const device of devices) if (!placed(device)) this.#plug(board, device, taken);
  }

  #plug(board: DeviceBoard, config: DeviceConfig, taken: Set<string>): void {
    switch (config.type) {
      case 'virtio-blk': {
        assert(this.#host.disks, 'a disk is opened for every device');
        const backend = this.#host.disks.backend(config.disk);
        const { serial, logicalBlockSize, physicalBlockSize, queues, queueSize, discard, writeZeroes } = config;
        const model = new VirtioBlock({
          backend,
          ...{ queues, queueSize, discard, writeZeroes },
          ...(serial === undefined ? {} : { serial }),
          ...(logicalBlockSize === undefined ? {} : { logicalBlockSize }),
          ...(physicalBlockSize === undefined ? {} : { physicalBlockSize }),
        });
        this.#virtioDisks.set(config.disk, model);
        const spot = this.#addVirtio(board, config, model, taken);
        this.#boot.add(config.bootIndex, `${spot.path('scsi')}/disk@0,0`, config);
        return;
      }
      case 'ide': {
        const { place, bootIndex } = config;
        const { drivePlaces } = board;
        if (!drivePlaces) throw new VringError('no-ide', 'This board has no disk controller of its own.');
        drivePlaces.drives[place] = this.#drive(config, place + 1, drivePlaces.queueDepth);
        const path = `${board.pciPath}${drivePlaces.bootPath(place)}`;
        this.#boot.add(bootIndex, path, config);
        return;
      }
      case 'floppy': {
        const { floppyPlaces } = board;
        if (!floppyPlaces) throw new VringError('device-bus', 'floppy: this board has no floppy controller.');
        assert(this.#host.disks, 'a disk is opened for every device');
        const { unit, disk, kind, bootIndex } = config;
        const drive = new FloppyDrive({ backend: this.#host.disks.backend(disk), kind });
        floppyPlaces.drives[unit] = drive;
        this.#removable.set(disk, drive);
        const path = `${board.pciPath}${floppyPlaces.bootPath(unit)}`;
        this.#boot.add(bootIndex, path, config);
        return;
      }
      case 'isa-fdc':
        if (!board.floppyPlaces) throw new VringError('device-bus', 'isa-fdc: this board has no ISA bus.');
        board.floppyPlaces.isWanted = true;
        return;
      case 'pcie-root-port':
        return;
      case 'ahci': {
        const spot = this.#spot(board, config.slot, taken);
        const drives = config.drives.map((drive, port) => {
          this.#boot.add(drive?.bootIndex, `${spot.path('pci8086,2922')}/drive@${port}/disk@0`, config);
          return drive && this.#drive(drive, port + 1, AHCI_QUEUE_DEPTH);
        });
        const controller = new Ich9Ahci({ name: freeName('ich9-ahci', taken), dma: board.memory.dma, drives });
        this.#insert(board, spot, config, controller);
        return;
      }
      case 'nvme':
        this.#addNvme(board, config, taken);
        return;
      case 'usb':
        this.#addUsb(board, config, taken);
        return;
      case 'virtio-scsi': {
        const model = new VirtioScsi(config);
        const spot = this.#addVirtio(board, config, model, taken);
        const path = spot.path('scsi');
        this.#scsi.set(config.id ?? '', { model, config, path });
        for (const unit of config.units) {
          model.bus.add(unit, this.#scsiUnit(unit));
          this.#boot.add(unit.bootIndex, scsiBootPath(path, unit), config);
        }
        return;
      }
      case 'virtio-net': {
        assert(this.#host.networks, 'a network is opened for every card');
        const { mac, mtu, features, rxQueueSize, txQueueSize, speed, duplex } = config;
        const model = new VirtioNet({
          peer: this.#host.networks.peer(config.network),
          queuePairs: this.#host.networks.queues(config.network),
          clock: board.clock,
          ...{ mac, mtu, features, rxQueueSize, txQueueSize, speed, duplex },
        });
        const rom = readOptionRom(board, config.rom);
        this.#bootByNetwork(config, this.#addVirtio(board, config, model, taken, rom));
        return;
      }
      case 'ne2k_isa': {
        assert(this.#host.networks, 'a network is opened for every card');
        const { type, network, mac, port = 0x300, irq = 9 } = config;
        const peer = this.#host.networks.peer(network);
        const line = isaOf(board, type)[irq];
        board.add(new Ne2000Isa({ name: freeName(type, taken), peer, mac, ports: board.ports, irq: line, port }));
        return;
      }
      case 'e1000':
      case 'rtl8139':
      case 'ne2k_pci': {
        assert(this.#host.networks, 'a network is opened for every card');
        const Card = pciCards[config.type];
        const rom = readOptionRom(board, config.rom);
        const card = new Card({
          name: freeName(config.type, taken),
          peer: this.#host.networks.peer(config.network),
          mac: config.mac,
          dma: board.memory.dma,
          clock: board.clock,
          rom,
        });
        claimOptionRom(board, rom, card.function);
        const spot = this.#spot(board, config.slot, taken);
        this.#insert(board, spot, config, card);
        this.#bootByNetwork(config, spot);
        return;
      }
      case 'virtio-serial':
        this.#addConsole(board, config, taken);
        return;
      case 'virtio-9p': {
        const folder = openSharedFolder(config.path, config.security, config.readonly ?? false);
        this.#folders.push(folder);
        if (config.tag === '' || Buffer.byteLength(config.tag) > mostTagBytes)
          throw new VringError('shared-folder', `The mount tag '${config.tag}' has 1 to ${mostTagBytes} bytes.`);
        this.#addVirtio(board, config, new Virtio9p(folder, config.tag), taken);
        return;
      }
      case 'virtio-rng':
        this.#addVirtio(board, config, new VirtioEntropy((target) => this.#fillRandom(target)), taken);
        return;
      case 'virtio-balloon': {
        const model = new VirtioBalloon({
          host: { inflated: (gpa, sizeBytes) => this.#host.discard(gpa, sizeBytes), deflated: () => {} },
        });
        this.#balloon ??= model;
        this.#addVirtio(board, config, model, taken);
        return;
      }
      case 'vga': {
        assert(this.#host.sharedState, 'a screen has shared state');
        const { device, memory } = makeVga(board, config, this.#host.sharedState);
        this.#insert(board, this.#spot(board, config.slot, taken), config, device);
        this.screen = { vga: memory, isResizable: false };
        return;
      }
      case 'virtio-gpu':
        this.#addGpu(board, config, taken);
        return;
      case 'virtio-keyboard':
      case 'virtio-mouse':
      case 'virtio-tablet': {
        const kind = config.type.slice('virtio-'.length) as VirtioInputKind;
        this.#addVirtio(board, config, this.#host.input.add(kind), taken);
        return;
      }
      case 'pvpanic': {
        isaOf(board, config.type);
        const { port = PVPANIC_PORT } = config;
        wirePvpanic(board.ports, (event) => this.#host.panicEvent(event), port);
        board.panicPort = port;
        return;
      }
      case 'pvpanic-pci': {
        const name = freeName(config.type, taken);
        const device = new PvpanicPci({ name, tell: (event) => this.#host.panicEvent(event) });
        this.#insert(board, this.#spot(board, config.slot, taken), config, device);
        return;
      }
      case 'i6300esb': {
        const name = freeName(config.type, taken);
        const device = new I6300Esb({ name, clock: board.clock, expired: () => this.#host.watchdogExpired() });
        this.#insert(board, this.#spot(board, config.slot, taken), config, device);
        return;
      }
      case 'isa-debug-exit':
        isaOf(board, config.type);
        wireIsaDebugExit(board.ports, (status) => board.exit(status), {
          port: config.port,
          sizeBytes: config.sizeBytes,
        });
        return;
      case 'isa-debugcon': {
        isaOf(board, config.type);
        const stream = this.#host.streams[config.stream];
        wireIsaDebugcon(board.ports, (byte) => stream.sendByte(byte), { port: config.port });
        return;
      }
      case 'pc-testdev': {
        const device = new PcTestdev({ gsi: isaOf(board, config.type) });
        wirePcTestdev(board.ports, board.memory, device);
        board.add(device);
      }
    }
  }

  /** `number`: for its serial number, where it has none. */
  #drive(config: DriveConfig, number: number, queueDepth = 0): AtaDrive {
    assert(this.#host.disks, 'a disk is opened for every device');
    const { disk, media, serial, model, wwn, rotationRate, logicalBlockSize, physicalBlockSize } = config;
    const options = {
      backend: this.#host.disks.backend(disk),
      serial: serial ?? `VR${String(number).padStart(5, '0')}`,
      version: '1.0',
      wwn,
    };
    if (media === 'disk') {
      const sizes = { logicalBlockSize, physicalBlockSize };
      return new AtaDisk({ ...options, ...sizes, model: model ?? 'VRING HARDDISK', rotationRate, queueDepth });
    }
    const drive = new AtapiDrive({ ...options, model: model ?? 'VRING DVD-ROM' });
    this.#removable.set(disk, drive.cd);
    return drive;
  }

  /** Leaves the guest with so many bytes of its RAM, when it is willing, and gives what it has now. Throws VringError `no-balloon`. */
  inflate(allBytes: number, wantedBytes: number | undefined): number {
    const balloon = this.#balloon;
    if (!balloon) throw new VringError('no-balloon', 'No balloon device has been activated');
    if (wantedBytes !== undefined) balloon.setTarget(Math.max(0, allBytes - wantedBytes));
    return allBytes - Math.min(balloon.actualBytes, allBytes);
  }

  /** Another unit on a controller, the first one unless named. Gives where it is. Throws VringError `device-bus`. */
  plugScsi(
    name: string | undefined,
    unit: Omit<ScsiUnitConfig, 'target' | 'lun'> & Partial<ScsiPlace>,
  ): Required<ScsiPlace> {
    const id = name ?? [...this.#scsi.keys()][0];
    const found = id === undefined ? undefined : this.#scsi.get(id);
    if (id === undefined || !found)
      throw new VringError('device-bus', name === undefined ? "No 'SCSI' bus found" : `Bus '${name}.0' not found`);
    const { model, config, path } = found;
    const place = model.bus.freePlace(unit.target, unit.lun);
    if (!place) throw new VringError('device-bus', `There is no free place for the unit on '${id}'`);
    model.bus.add(place, this.#scsiUnit({ ...unit, ...place }));
    model.plugged(place);
    this.#boot.add(unit.bootIndex, scsiBootPath(path, place), config);
    return { ...place, controller: id };
  }

  /** What it had under way has ended. Throws VringError `device-busy`. */
  unplugScsi(id: string, place: ScsiPlace): void {
    const found = this.#scsi.get(id);
    const unit = found?.model.bus.unit(place);
    if (!found || !unit) return;
    const { model, path } = found;
    if (unit.pending > 0)
      throw new VringError('device-busy', 'The device waits for a disk that failed; the machine has to go on first.');
    model.bus.remove(place);
    model.unplugged(place);
    this.#boot.remove(scsiBootPath(path, place));
    for (const [disk, drive] of this.#removable) if (drive.backend === unit.backend) this.#removable.delete(disk);
  }

  /** Throws VringError `device-bus`. */
  plugUsb(name: string, device: Parameters<UsbBuses['plug']>[1]): UsbPort {
    const place = this.usb.plug(name, device);
    const bus = this.#usbPaths.get(name);
    if (bus)
      this.#boot.add(device.drive?.bootIndex, `${bus.path}${usbBootPath({ ...device, port: place.port })}`, bus.config);
    return place;
  }

  /** What its disks had under way has ended. Gives the ports that are free now. Throws VringError `device-busy`. */
  unplugUsb(place: UsbPort, disks: readonly number[]): readonly string[] {
    const ports = this.usb.unplug(place);
    const bus = this.#usbPaths.get(place.bus);
    for (const port of bus ? ports : []) this.#boot.remove(`${bus?.path}${usbBootPath({ kind: 'storage', port })}`);
    for (const disk of disks) this.#removable.delete(disk);
    return ports;
  }

  #insert(
    board: DeviceBoard,
    spot: Spot,
    config: DeviceConfig,
    device: Device & { readonly function: PciFunction },
  ): void {
    device.function.ownersName = ('device' in config ? config.device : undefined) ?? '';
    spot.bus.add(device.function, spot.slot);
    board.add(device);
    this.#plugged.push({ spot, config, device });
  }

  /** Another device while the machine runs. Throws VringError `device-bus`, `pci-full`, `pci-slot`. */
  plugLater(board: DeviceBoard, config: DeviceConfig): void {
    const behind = 'slot' in config && typeof config.slot === 'string';
    if (!behind && !board.pciHotplug) throw new VringError('device-bus', "Bus 'pcie.0' does not support hotplugging");
    const before = this.#plugged.length;
    this.#plug(board, config, this.#taken);
    const added = this.#plugged[before];
    assert(added, 'what comes later is a PCI device');
    added.device.reset();
    if (added.spot.port) added.spot.port.plugged();
    else board.pciHotplug?.plugged(added.spot.slot);
  }

  /** The guest is asked to let a device go. Throws VringError `no-such-device`, `device-bus`. */
  requestUnplug(board: DeviceBoard, name: string): void {
    const found = this.#plugged.find(({ config }) => 'device' in config && config.device === name);
    if (!found) throw new VringError('no-such-device', `Device '${name}' not found`);
    if (!isPluggable(found.config)) throw new VringError('device-bus', `Device '${name}' does not support hotplugging`);
    if (found.spot.port) found.spot.port.requestUnplug();
    else if (board.pciHotplug) board.pciHotplug.requestUnplug(found.spot.slot);
    else throw new VringError('device-bus', "Bus 'pcie.0' does not support hotplugging");
  }

  /** The guest has let go what is at a place: what the device has under way ends, and it is taken out. */
  #eject(board: DeviceBoard, isIt: (each: PluggedDevice) => boolean): void {
    const at = this.#plugged.findIndex(isIt);
    const found = this.#plugged[at];
    if (!found || !isPluggable(found.config)) return;
    const { spot, config, device } = found;
    this.#host.disks?.drain();
    device.reset();
    spot.bus.remove(spot.slot);
    board.remove(device);
    this.#plugged.splice(at, 1);
    this.#taken.delete(spot.key);
    this.#taken.delete(device.name);
    this.#boot.removeOf(config);
    if (config.type === 'virtio-scsi') this.#scsi.delete(config.id ?? '');
    if (config.type === 'virtio-blk') this.#virtioDisks.delete(config.disk);
    if (config.type === 'usb') {
      this.usb.remove(config.bus);
      this.#usbPaths.delete(config.bus);
    }
    if ('device' in config && config.device !== undefined) this.#host.unplugged(config.device);
  }

  #addNvme(board: DeviceBoard, config: DeviceConfig & { type: 'nvme' }, taken: Set<string>): void {
    const { disks } = this.#host;
    assert(disks, 'a disk is opened for every device');
    const spot = this.#spot(board, config.slot, taken);
    const controller = new NvmeController({
      name: freeName('nvme', taken),
      dma: board.memory.dma,
      clock: board.clock,
      serial: config.serial,
      model: 'VRING NVMe Ctrl',
      firmware: '1.0',
      namespaces: config.namespaces.map(
        ({ disk, namespace, logicalBlockSize, eui64 }) =>
          new NvmeNamespace({
            backend: disks.backend(disk),
            identifier: namespace,
            blockBytes: logicalBlockSize,
            eui64,
          }),
      ),
    });
    this.#insert(board, spot, config, controller);
    for (const { bootIndex, namespace } of config.namespaces) {
      const path = `${spot.path('pci1b36,10')}/namespace@${namespace.toString(16)},0`;
      this.#boot.add(bootIndex, path, config);
    }
  }

  #addUsb(board: DeviceBoard, config: UsbControllerConfig, taken: Set<string>): void {
    const { model, slot, function: fn } = config;
    const controller = makeUsbController(board, freeName(model, taken), config, this.#usbHost);
    let path: string;
    if (typeof slot === 'number' && fn !== undefined) {
      if (!board.hasPci) throw new VringError('device-bus', 'This board has no PCI bus.');
      const at = `${slot.toString(16)}${fn === 0 ? '' : `,${fn}`}`;
      if (board.pci.bus.at(slot * 8 + fn)) throw new VringError('pci-slot', `PCI slot ${at} is taken already.`);
      taken.add(slotKey(slot));
      board.pci.bus.add(controller.function, slot, fn);
      board.add(controller);
      path = `${board.pciPath}/usb@${at}`;
    } else {
      const spot = this.#spot(board, slot, taken);
      if (spot.port) addExpressCapability(controller.function, { kind: 'endpoint' });
      this.#insert(board, spot, config, controller);
      path = spot.path('usb');
    }
    this.usb.add(controller, config);
    this.#usbPaths.set(config.bus, { path, config });
    for (const each of config.devices) this.#boot.add(each.drive?.bootIndex, `${path}${usbBootPath(each)}`, config);
  }

  #scsiUnit(config: ScsiUnitConfig & { readonly removable?: boolean | undefined }): ScsiUnit {
    assert(this.#host.disks, 'a disk is opened for every device');
    const { disk, media, serial, vendor, product, deviceId, wwn } = config;
    const names = {
      vendor: vendor ?? 'VRING',
      serial: serial ?? '',
      version: '1.0',
      deviceId,
      wwn,
      backend: this.#host.disks.backend(disk),
    };
    if (media === 'disk') {
      const { rotationRate, logicalBlockSize, physicalBlockSize } = config;
      const sizes = { rotationRate, logicalBlockSize, physicalBlockSize, removable: config.removable };
      return new ScsiDisk({ ...names, ...sizes, product: product ?? 'VRING HARDDISK' });
    }
    const drive = new ScsiCd({ ...names, product: product ?? 'VRING CD-ROM' });
    this.#removable.set(disk, drive.cd);
    return drive;
  }

  /** Gives its place. */
  #addVirtio(
    board: DeviceBoard,
    config: DeviceConfig & VirtioPlace,
    model: VirtioModel,
    taken: Set<string>,
    rom?: OptionRom | undefined,
  ): Pick<Spot, 'path'> {
    const { type, bus, slot: wanted, interfaces, packed, indirectDescriptors, eventIndex, ioeventfd } = config;
    const name = freeName(type, taken);
    const device = new VirtioDevice(model, {
      name,
      dma: board.memory.dma,
      packed,
      indirectDescriptors,
      eventIndex,
      log: (line) => this.#host.log(`${name}: ${line}`),
    });
    if (bus === 'mmio') {
      assert(typeof wanted !== 'string', 'a root port is for PCI');
      const slot = plugMmio(board, device, wanted);
      return { path: (kind) => `${board.pciPath}/${kind}@${slot.toString(16)}` };
    }
    const spot = this.#spot(board, wanted, taken);
    const isExpress = spot.port !== undefined;
    const transport = new VirtioPci({
      device,
      // As on QEMU a device behind a root port has the interface of virtio 1.0 alone, unless it is told otherwise.
      legacy: interfaces !== 'modern' && !modernOnly.has(model.type) && !(isExpress && interfaces === undefined),
      modern: interfaces !== 'legacy',
      ioeventfd,
      rom,
      ...vectorsOf(config),
    });
    claimOptionRom(board, rom, transport.function);
    if (isExpress) addExpressCapability(transport.function, { kind: 'endpoint' });
    this.#insert(board, spot, config, transport);
    return spot;
  }

  #addGpu(board: DeviceBoard, config: DeviceConfig & { type: 'virtio-gpu' }, taken: Set<string>): void {
    const { frame, sharedState, input } = this.#host;
    assert(frame && sharedState, 'a screen has shared state');
    const { preferred, vga } = config;
    const model = new VirtioGpu({ frame, dma: board.memory.dma, preferred });
    input.resizable = (width, height) => model.prefer(width, height);
    let memory: ScreenMemory['vga'];
    if (vga) {
      const name = freeName(config.type, taken);
      const log = (line: string) => this.#host.log(`${name}: ${line}`);
      const device = new VirtioDevice(model, { name, dma: board.memory.dma, log });
      const plugged = makeVirtioVga(board, vga, sharedState, { device, ...vectorsOf(config) });
      const { device: card } = plugged;
      const spot = this.#spot(board, config.slot, taken);
      spot.bus.add(card.transport.function, spot.slot);
      board.add(card);
      memory = plugged.memory;
    } else this.#addVirtio(board, config, model, taken);
    this.screen = { vga: memory, isResizable: true };
  }

  /** A place on a PCI bus: the one that is wanted, or the lowest free slot of bus 0. */
  #spot(board: DeviceBoard, wanted: PciSlot | undefined, taken: Set<string>): Spot {
    if (typeof wanted === 'string') {
      const port = this.#rootPorts.get(wanted);
      if (!port) throw new VringError('pci-slot', `There is no root port '${wanted}'.`);
      const key = `port ${wanted}`;
      if (taken.has(key))
        throw new VringError('pci-slot', `There is a device behind the root port '${wanted}' already.`);
      taken.add(key);
      return { bus: port.port.bus, slot: 0, key, port: port.port, path: (kind) => `${port.path}/${kind}@0` };
    }
    const slot = this.#slot(board, wanted, taken);
    const path = (kind: string) => `${board.pciPath}/${kind}@${slot.toString(16)}`;
    return { bus: board.pci.bus, slot, key: slotKey(slot), port: undefined, path };
  }

  #slot(board: DeviceBoard, wanted: number | undefined, taken: Set<string>): number {
    if (!board.hasPci) throw new VringError('device-bus', 'This board has no PCI bus.');
    const slot = wanted ?? board.pci.bus.freeSlot(board.firstSlot);
    if (slot === undefined) {
      throw new VringError('pci-full', 'There is no free PCI slot left for the devices that were asked for.');
    }
    const key = slotKey(slot);
    if (slot < board.firstSlot || taken.has(key))
      throw new VringError('pci-slot', `PCI slot ${slot} is taken already.`);
    taken.add(key);
    return slot;
  }

  /** Root ports come first, for others go behind them. Several of them may share a slot. */
  #addRootPorts(board: DeviceBoard, devices: readonly DeviceConfig[], taken: Set<string>): void {
    const ports = devices.filter((device) => device.type === 'pcie-root-port');
    const placed = ports.toSorted((a, b) => Number(a.slot === undefined) - Number(b.slot === undefined));
    for (const [i, { id, slot: wanted, function: functionNumber = 0, physicalSlot = i }] of placed.entries()) {
      const shared = placed.slice(0, i).some((other) => other.slot !== undefined && other.slot === wanted);
      const slot = shared && wanted !== undefined ? wanted : this.#slot(board, wanted, taken);
      if (board.pci.bus.at(slot * 8 + functionNumber))
        throw new VringError('pci-slot', `PCI slot ${slot}.${functionNumber} is taken already.`);
      const occupied = devices.some((device) => 'slot' in device && device.slot === id);
      const name = freeName('pcie-root-port', taken);
      const port = new PcieRootPort({ name, root: board.pci, slot, functionNumber, physicalSlot, occupied });
      const at = functionNumber === 0 ? slot.toString(16) : `${slot.toString(16)},${functionNumber}`;
      port.function.ownersName = id;
      port.onEject = () => this.#eject(board, (each) => each.spot.port === port);
      this.#rootPorts.set(id, { port, path: `${board.pciPath}/pci-bridge@${at}` });
      board.add(port);
    }
  }

  #bootByNetwork(config: DeviceConfig & { readonly bootIndex?: number | undefined }, spot: Pick<Spot, 'path'>): void {
    this.#boot.add(config.bootIndex, `${spot.path('ethernet')}/ethernet-phy@0`, config);
  }

  #addConsole(board: DeviceBoard, config: DeviceConfig & { type: 'virtio-serial' }, taken: Set<string>): void {
    const { streams } = this.#host;
    const numbers = portNumbers(config.ports, config.maxPorts ?? 31);
    const first = this.#firstPorts.get(config) as number;
    const specs = config.ports.map(({ stream, name, isConsole }, i): ConsolePortSpec => {
      const index = first + i;
      return {
        id: numbers[i],
        isConsole,
        ...(name === undefined ? {} : { name }),
        backend: {
          output: (bytes) => streams[stream].send(bytes),
          inputReady: () => this.ports[index]?.pump(),
          guestOpened: (open) => this.#host.guestOpened(index, open),
        },
      };
    });
    const model = new VirtioConsole({
      ports: specs,
      ...(config.maxPorts === undefined ? {} : { maxPorts: config.maxPorts }),
    });
    this.#addVirtio(board, config, model, taken);
    model.ports.forEach((port, i) => {
      this.ports[first + i] = new PluggedPort(port, streams[config.ports[i].stream]);
    });
  }

  #fillRandom(target: Uint8Array): void {
    for (let i = 0; i < target.length; ) {
      let bits = this.#host.randomBits();
      for (let k = 0; k < 8 && i < target.length; k++, bits >>= 8n) target[i++] = Number(bits & 255n);
    }
  }
}

interface PluggedDevice {
  readonly spot: Spot;
  readonly config: DeviceConfig;
  readonly device: Device;
}

/** Kinds of devices that come and go while the machine runs. */
const pluggable: ReadonlySet<DeviceConfig['type']> = new Set([
  'virtio-blk',
  'virtio-scsi',
  'virtio-net',
  'virtio-rng',
  'nvme',
  'e1000',
  'rtl8139',
  'ne2k_pci',
  'usb',
]);
const isPluggable = ({ type }: DeviceConfig): boolean => pluggable.has(type);

const slotKey = (slot: number): string => `slot ${slot}`;

/** Kinds that are younger than the interface before virtio 1.0. */
const modernOnly: ReadonlySet<number> = new Set([virtioType.gpu, virtioType.input]);

const vectorsOf = ({ vectors }: VirtioPlace) => (vectors === undefined ? {} : { vectors });

function freeName(type: string, taken: Set<string>): string {
  let name = type;
  for (let i = 0; taken.has(name); i++) name = `${type}${i}`;
  taken.add(name);
  return name;
}

/** Gives the slot. */
function plugMmio({ virtioMmio }: DeviceBoard, device: VirtioDevice, wanted: number | undefined): number {
  if (!virtioMmio)
    throw new VringError('device-bus', `${device.name}: this board has no slots for virtio devices but those of PCI.`);
  const slot = wanted ?? virtioMmio.free();
  if (slot === undefined) throw new VringError('device-bus', `${device.name}: no virtio-mmio slot is free.`);
  if (slot >= virtioMmio.count) {
    const last = virtioMmio.count - 1;
    throw new VringError('device-bus', `${device.name}: there is no virtio-mmio slot ${slot}; the last is ${last}.`);
  }
  if (!virtioMmio.isFree(slot)) throw new VringError('device-bus', `virtio-mmio slot ${slot} is taken already.`);
  virtioMmio.plug(slot, device);
  return slot;
}

/** A device on the ISA bus is for boards that have one. */
/** Network cards that are a PCI function each. */
const pciCards = { e1000: E1000, rtl8139: Rtl8139, ne2k_pci: Ne2000Pci } as const;

function isaOf(board: DeviceBoard, type: string): NonNullable<DeviceBoard['isaIrqs']> {
  if (board.isaIrqs) return board.isaIrqs;
  throw new VringError('device-bus', `${type}: this board has no ISA bus.`);
}

/** Numbers of a device's ports: as given, or the lowest free; Linux takes number 0 for a console. */
function portNumbers(ports: readonly ConsolePortConfig[], maxPorts: number): number[] {
  const used = new Set(ports.map(({ number }) => number).filter((number) => number !== undefined));
  return ports.map((port) => {
    let number = port.number;
    if (number === undefined) {
      number = port.isConsole ? 0 : 1;
      while (used.has(number)) number++;
      used.add(number);
    }
    if (number >= maxPorts) {
      throw new VringError(
        'console-ports',
        `A virtio-serial device has ${maxPorts} ports; there is no port ${number}.`,
      );
    }
    return number;
  });
}
