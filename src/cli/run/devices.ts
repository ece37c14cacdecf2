/** The devices of `-device`, one row each, and their properties. */
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { virtioNetRows } from './plan-virtio-net.js';

export interface PropertyRow {
  readonly name: string;
  /** As QEMU's `-device NAME,help` names types. */
  readonly type: 'str' | 'bool' | 'OnOffAuto' | 'size' | 'uint16' | 'uint32' | 'int32';
  readonly default?: string;
  readonly sentence: string;
}

export interface DeviceRow {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly bus:
    | 'PCI'
    | 'ISA'
    | 'floppy-bus'
    | 'IDE'
    | 'SCSI'
    | 'nvme-bus'
    | 'usb-bus'
    | 'virtio-serial-bus'
    | 'virtio-bus';
  readonly category: 'Storage' | 'USB' | 'Network' | 'Input' | 'Display' | 'Misc';
  readonly sentence: string;
  readonly properties: readonly PropertyRow[];
}

const id: PropertyRow = { name: 'id', type: 'str', sentence: 'name of the device' };
const pci: readonly PropertyRow[] = [
  id,
  { name: 'bus', type: 'str', default: 'pci.0', sentence: 'the bus: pci.0' },
  { name: 'addr', type: 'str', sentence: 'slot on the PCI bus, hexadecimal; the lowest free one unless given' },
];
/** Of a virtio device's rings, whatever it sits on. */
const rings: readonly PropertyRow[] = [
  { name: 'packed', type: 'bool', default: 'off', sentence: 'on: drivers may choose the packed layout of rings' },
  { name: 'indirect_desc', type: 'bool', default: 'on', sentence: 'drivers may use indirect descriptors' },
  { name: 'event_idx', type: 'bool', default: 'on', sentence: 'drivers may use event indexes' },
];
const virtio: readonly PropertyRow[] = [
  ...pci,
  ...rings,
  {
    name: 'disable-legacy',
    type: 'OnOffAuto',
    default: 'auto',
    sentence: 'on: without the interface before virtio 1.0',
  },
  { name: 'disable-modern', type: 'bool', default: 'off', sentence: 'on: without the interface of virtio 1.0' },
  {
    name: 'ioeventfd',
    type: 'bool',
    sentence: 'on: under KVM notifications end no turn of a vCPU; on where there are several vCPUs unless given',
  },
  { name: 'vectors', type: 'uint32', sentence: 'MSI-X vectors, 0 for none; as many as the device can use' },
];
/** virtio-mmio. */
const slot: readonly PropertyRow[] = [
  id,
  { name: 'bus', type: 'str', sentence: 'the slot: virtio-mmio-bus.0 and so on; the highest free one unless given' },
  ...rings,
];
const port: readonly PropertyRow[] = [
  { name: 'chardev', type: 'str', sentence: 'the character device behind it' },
  { name: 'name', type: 'str', sentence: 'name of the port in the guest' },
  { name: 'nr', type: 'uint32', sentence: 'number of the port; the lowest free one unless given' },
  id,
  { name: 'bus', type: 'str', sentence: 'the virtio-serial bus, e.g. virtio-serial0.0' },
];

const gpu: readonly PropertyRow[] = [
  { name: 'xres', type: 'uint32', default: '1280', sentence: 'width that the monitor likes best' },
  { name: 'yres', type: 'uint32', default: '800', sentence: 'height that the monitor likes best' },
  { name: 'max_outputs', type: 'uint32', default: '1', sentence: 'number of monitors: 1' },
  { name: 'edid', type: 'bool', default: 'on', sentence: 'the monitor describes itself' },
];

const disk: readonly PropertyRow[] = [
  { name: 'drive', type: 'str', sentence: 'id of a -drive, or node-name of a -blockdev' },
  { name: 'serial', type: 'str', sentence: 'serial number that the guest sees' },
  { name: 'logical_block_size', type: 'size', default: '512', sentence: 'block size that the guest sees' },
  { name: 'physical_block_size', type: 'size', default: '512', sentence: 'block size that the guest aligns to' },
  { name: 'bootindex', type: 'uint32', sentence: 'firmware boots from the device with the lowest' },
  { name: 'share-rw', type: 'bool', default: 'off', sentence: 'others may write to the image meanwhile' },
  { name: 'werror', type: 'str', default: 'enospc', sentence: 'write errors: report, ignore, stop, enospc' },
  { name: 'rerror', type: 'str', default: 'report', sentence: 'read errors: report, ignore, stop' },
];

/** Of virtio disks. */
const virtioDisk: readonly PropertyRow[] = [
  ...disk,
  { name: 'num-queues', type: 'uint16', default: '1', sentence: 'request queues' },
  { name: 'queue-size', type: 'uint16', default: '256', sentence: 'entries of a queue, a power of two' },
  { name: 'discard', type: 'bool', default: 'on', sentence: 'the guest may give up blocks' },
  { name: 'write-zeroes', type: 'bool', default: 'on', sentence: 'the guest may have zeros written' },
];

/** Of network cards. */
const nic: readonly PropertyRow[] = [
  { name: 'netdev', type: 'str', sentence: 'id of a -netdev' },
  { name: 'mac', type: 'str', sentence: 'Ethernet address; 52:54:00:12:34:56 and those that follow unless given' },
];
const romFile: PropertyRow = {
  name: 'romfile',
  type: 'str',
  sentence: "option ROM; iPXE's where the network is booted from, empty for none",
};
const bootIndex: PropertyRow = {
  name: 'bootindex',
  type: 'uint32',
  sentence: 'firmware boots from the device with the lowest',
};

/** Of drives on the IDE channels. */
const ide: readonly PropertyRow[] = [
  {
    name: 'bus',
    type: 'str',
    sentence: 'the channel: ide.0 or ide.1, or the port of an AHCI controller: ID.0 to ID.5',
  },
  { name: 'unit', type: 'uint32', sentence: '0 for the master, 1 for the slave' },
  { name: 'model', type: 'str', sentence: 'model that the guest sees' },
  { name: 'wwn', type: 'str', sentence: 'world wide name, a number of 64 bits' },
  id,
];

const xhciPorts: readonly PropertyRow[] = [
  { name: 'p2', type: 'uint32', default: '4', sentence: 'ports of USB 2, 1 to 15' },
  { name: 'p3', type: 'uint32', default: '4', sentence: 'ports of USB 3, 1 to 15; nothing goes into them yet' },
];

const nvmeDisk = disk.filter(({ name }) => name !== 'physical_block_size');

/** Of units on a SCSI bus. */
const scsi: readonly PropertyRow[] = [
  { name: 'bus', type: 'str', sentence: 'the SCSI bus, e.g. scsi0.0; the first one unless given' },
  { name: 'scsi-id', type: 'uint32', sentence: 'target, 0 to 255; the first free one unless given' },
  { name: 'lun', type: 'uint32', sentence: 'logical unit, 0 to 16383; the first free one unless given' },
  { name: 'vendor', type: 'str', default: 'VRING', sentence: 'vendor that the guest sees' },
  { name: 'product', type: 'str', sentence: 'product that the guest sees' },
  {
    name: 'device_id',
    type: 'str',
    sentence: 'what the guest tells it apart by; the serial number, or the id of the drive',
  },
  { name: 'wwn', type: 'str', sentence: 'world wide name, a number of 64 bits' },
  id,
];
/** Of the controllers of virtio. */
const scsiController: readonly PropertyRow[] = [
  { name: 'num_queues', type: 'uint32', default: '1', sentence: 'request queues' },
  { name: 'virtqueue_size', type: 'uint32', default: '256', sentence: 'entries of a queue, a power of two' },
  { name: 'max_sectors', type: 'uint32', default: '65535', sentence: 'largest transfer, in sectors' },
  { name: 'cmd_per_lun', type: 'uint32', default: '128', sentence: 'commands that a unit is given at once' },
];

/** USB controllers, and what goes into their ports. */
const usbRows: readonly DeviceRow[] = [
  ...(
    [
      ['qemu-xhci', 'USB 3 controller (xHCI)', xhciPorts],
      ['nec-usb-xhci', 'USB 3 controller (xHCI, NEC µPD720200)', xhciPorts],
      ['piix3-usb-uhci', 'USB 1 controller (UHCI, PIIX3)', []],
      ['piix4-usb-uhci', 'USB 1 controller (UHCI, PIIX4)', []],
      ...[1, 2, 3, 4, 5, 6].map((n) => [`ich9-usb-uhci${n}`, 'USB 1 controller (UHCI, ICH9)', []] as const),
    ] as const
  ).map(
    ([name, sentence, more]): DeviceRow => ({
      name,
      bus: 'PCI',
      category: 'USB',
      sentence,
      properties: [
        ...more,
        { name: 'multifunction', type: 'bool', default: 'off', sentence: 'other functions are in its slot' },
        ...pci,
      ],
    }),
  ),
  ...(
    [
      ['usb-tablet', 'Input', 'Pointer that is where it points', []],
      ['usb-mouse', 'Input', 'Mouse with a wheel', []],
      ['usb-kbd', 'Input', 'Keyboard', []],
      ['usb-hub', 'USB', 'Hub with eight ports', []],
      [
        'usb-storage',
        'Storage',
        'Disk, or CD drive where its drive says media=cdrom',
        [
          ...disk.filter(({ name }) => name !== 'serial'),
          { name: 'removable', type: 'bool', default: 'off', sentence: 'the disk says that it can be taken out' },
        ],
      ],
    ] as const
  ).map(
    ([name, category, sentence, more]): DeviceRow => ({
      name,
      bus: 'usb-bus',
      category,
      sentence,
      properties: [
        ...more,
        { name: 'bus', type: 'str', sentence: 'the controller: usb-bus.0, or ID.0; the first one unless given' },
        { name: 'port', type: 'str', sentence: 'its port, 2 or 2.1 behind a hub; the first free one unless given' },
        { name: 'serial', type: 'str', sentence: 'serial number that the guest sees' },
        id,
      ],
    }),
  ),
];

const sharedFolder: readonly PropertyRow[] = [
  { name: 'fsdev', type: 'str', sentence: 'the -fsdev with this id' },
  { name: 'mount_tag', type: 'str', sentence: 'what the guest mounts it by, at most 31 bytes' },
];

export const deviceRows: readonly DeviceRow[] = [
  {
    name: 'pcie-root-port',
    bus: 'PCI',
    category: 'Misc',
    sentence: 'PCI Express root port; a device with bus=ID goes behind it',
    properties: [
      ...pci,
      { name: 'slot', type: 'uint16', sentence: 'number of the physical slot' },
      { name: 'chassis', type: 'uint16', sentence: 'taken, of no effect' },
      { name: 'port', type: 'uint16', sentence: 'taken, of no effect' },
      { name: 'hotplug', type: 'bool', sentence: 'taken; devices behind it always come and go' },
    ],
  },
  {
    name: 'ich9-ahci',
    aliases: ['ahci'],
    bus: 'PCI',
    category: 'Storage',
    sentence: 'AHCI controller with six ports (ICH9)',
    properties: pci,
  },
  {
    name: 'isa-fdc',
    bus: 'ISA',
    category: 'Storage',
    sentence: 'Floppy controller (82078); it is there by itself where there is a floppy drive',
    properties: [id],
  },
  {
    name: 'floppy',
    bus: 'floppy-bus',
    category: 'Storage',
    sentence: 'Floppy drive; without drive= it is empty',
    properties: [
      ...disk.filter(({ name }) => /^(drive|bootindex|share-rw|[wr]error)$/.test(name)),
      { name: 'unit', type: 'uint32', sentence: '0 for A, 1 for B' },
      { name: 'drive-type', type: 'str', default: 'auto', sentence: 'auto, 360, 120 (1.2 MB), 720, 144, 288' },
      id,
    ],
  },
  {
    name: 'ide-hd',
    bus: 'IDE',
    category: 'Storage',
    sentence: 'ATA disk',
    properties: [
      ...disk,
      { name: 'rotation_rate', type: 'uint16', default: '0', sentence: 'rotations a minute; 1: it does not rotate' },
      ...ide,
    ],
  },
  {
    name: 'ide-cd',
    bus: 'IDE',
    category: 'Storage',
    sentence: 'ATAPI CD drive; without drive= it is empty',
    properties: [...disk.filter(({ name }) => !name.endsWith('block_size')), ...ide],
  },
  {
    name: 'virtio-blk-pci',
    aliases: ['virtio-blk'],
    bus: 'PCI',
    category: 'Storage',
    sentence: 'Virtio disk',
    properties: [...virtioDisk, ...virtio],
  },
  {
    name: 'virtio-scsi-pci',
    aliases: ['virtio-scsi'],
    bus: 'PCI',
    category: 'Storage',
    sentence: 'Virtio SCSI controller',
    properties: [...scsiController, ...virtio],
  },
  {
    name: 'nvme',
    bus: 'PCI',
    category: 'Storage',
    sentence: 'NVM Express controller, with a disk of its own or with nvme-ns devices',
    properties: [...nvmeDisk, ...pci],
  },
  {
    name: 'nvme-ns',
    bus: 'nvme-bus',
    category: 'Storage',
    sentence: 'Disk of an nvme controller',
    properties: [
      ...nvmeDisk.filter(({ name }) => name !== 'serial'),
      { name: 'nsid', type: 'uint32', sentence: 'its number, 1 to 256; the lowest free one unless given' },
      { name: 'eui64', type: 'str', sentence: 'extended unique identifier, a number of 64 bits' },
      { name: 'bus', type: 'str', sentence: 'the controller by its id; the first one unless given' },
      id,
    ],
  },
  {
    name: 'scsi-hd',
    bus: 'SCSI',
    category: 'Storage',
    sentence: 'SCSI disk',
    properties: [
      ...disk,
      { name: 'rotation_rate', type: 'uint16', default: '0', sentence: 'rotations a minute; 1: it does not rotate' },
      ...scsi,
    ],
  },
  {
    name: 'scsi-cd',
    bus: 'SCSI',
    category: 'Storage',
    sentence: 'SCSI CD drive; without drive= it is empty',
    properties: [...disk.filter(({ name }) => !name.endsWith('block_size')), ...scsi],
  },
  {
    name: 'virtio-serial-pci',
    aliases: ['virtio-serial'],
    bus: 'PCI',
    category: 'Input',
    sentence: 'Virtio console controller',
    properties: [
      { name: 'max_ports', type: 'uint32', default: '31', sentence: 'most ports that it can have' },
      ...virtio,
    ],
  },
  {
    name: 'virtconsole',
    bus: 'virtio-serial-bus',
    category: 'Input',
    sentence: 'Console (hvc0, …) of a virtio-serial-pci',
    properties: port,
  },
  {
    name: 'virtserialport',
    bus: 'virtio-serial-bus',
    category: 'Input',
    sentence: 'Named byte channel of a virtio-serial-pci',
    properties: port,
  },
  ...(
    [
      ['e1000', ['e1000-82540em'], 'PCI', 'Intel Gigabit Ethernet (82540EM)', [...nic, bootIndex, romFile, ...pci]],
      ['rtl8139', [], 'PCI', 'Realtek Fast Ethernet (RTL8139C+)', [...nic, bootIndex, romFile, ...pci]],
      ['ne2k_pci', [], 'PCI', 'NE2000 on PCI (Realtek RTL8029)', [...nic, bootIndex, romFile, ...pci]],
      [
        'ne2k_isa',
        [],
        'ISA',
        'NE2000 on ISA',
        [
          ...nic,
          { name: 'iobase', type: 'uint32', default: '0x300', sentence: 'first of its 32 ports' },
          { name: 'irq', type: 'uint32', default: '9', sentence: 'ISA interrupt' },
          id,
        ],
      ],
    ] as const
  ).map(
    ([name, aliases, bus, sentence, properties]): DeviceRow => ({
      name,
      aliases,
      bus,
      category: 'Network',
      sentence,
      properties,
    }),
  ),
  {
    name: 'virtio-net-pci',
    aliases: ['virtio-net'],
    bus: 'PCI',
    category: 'Network',
    sentence: 'Virtio network card',
    properties: [...nic, ...virtioNetRows, bootIndex, romFile, ...virtio],
  },
  {
    name: 'virtio-9p-pci',
    aliases: ['virtio-9p'],
    bus: 'PCI',
    category: 'Storage',
    sentence: 'Folder of the host, which the guest mounts by its tag',
    properties: [...sharedFolder, ...virtio],
  },
  {
    name: 'virtio-rng-pci',
    aliases: ['virtio-rng'],
    bus: 'PCI',
    category: 'Misc',
    sentence: 'Virtio entropy source',
    properties: virtio,
  },
  {
    name: 'virtio-balloon-pci',
    aliases: ['virtio-balloon'],
    bus: 'PCI',
    category: 'Misc',
    sentence: 'Virtio memory balloon',
    properties: virtio,
  },
  {
    name: 'virtio-gpu-pci',
    aliases: ['virtio-gpu'],
    bus: 'PCI',
    category: 'Display',
    sentence: 'Virtio GPU in 2D: a screen of any size',
    properties: [...gpu, ...virtio],
  },
  {
    name: 'virtio-vga',
    bus: 'PCI',
    category: 'Display',
    sentence: 'Virtio GPU in 2D that is a VGA too',
    properties: [
      ...gpu,
      { name: 'romfile', type: 'str', default: 'vgabios-virtio.bin', sentence: 'option ROM; empty for none' },
      ...virtio,
    ],
  },
  ...(['keyboard', 'mouse', 'tablet'] as const).map(
    (kind): DeviceRow => ({
      name: `virtio-${kind}-pci`,
      aliases: [`virtio-${kind}`],
      bus: 'PCI',
      category: 'Input',
      sentence: `Virtio ${kind}`,
      properties: virtio,
    }),
  ),
  ...(
    [
      ['virtio-gpu-device', 'Display', 'Virtio GPU in 2D in a virtio-mmio slot', [...gpu, ...slot]],
      ['virtio-keyboard-device', 'Input', 'Virtio keyboard in a virtio-mmio slot', slot],
      ['virtio-mouse-device', 'Input', 'Virtio mouse in a virtio-mmio slot', slot],
      ['virtio-tablet-device', 'Input', 'Virtio tablet in a virtio-mmio slot', slot],
      ['virtio-blk-device', 'Storage', 'Virtio disk in a virtio-mmio slot', [...virtioDisk, ...slot]],
      ['virtio-scsi-device', 'Storage', 'Virtio SCSI controller in a virtio-mmio slot', [...scsiController, ...slot]],
      [
        'virtio-serial-device',
        'Input',
        'Virtio console controller in a virtio-mmio slot',
        [{ name: 'max_ports', type: 'uint32', default: '31', sentence: 'most ports that it can have' }, ...slot],
      ],
      [
        'virtio-net-device',
        'Network',
        'Virtio network card in a virtio-mmio slot',
        [...nic, ...virtioNetRows, ...slot],
      ],
      ['virtio-9p-device', 'Storage', 'Folder of the host in a virtio-mmio slot', [...sharedFolder, ...slot]],
      ['virtio-rng-device', 'Misc', 'Virtio entropy source in a virtio-mmio slot', slot],
      ['virtio-balloon-device', 'Misc', 'Virtio memory balloon in a virtio-mmio slot', slot],
    ] as const
  ).map(
    ([name, category, sentence, properties]): DeviceRow => ({
      name,
      bus: 'virtio-bus',
      category,
      sentence,
      properties,
    }),
  ),
  {
    name: 'VGA',
    bus: 'PCI',
    category: 'Display',
    sentence: 'Standard VGA with linear modes up to 32 bits',
    properties: [
      { name: 'vgamem_mb', type: 'uint32', default: '16', sentence: 'video memory in MiB, a power of two' },
      { name: 'romfile', type: 'str', default: 'vgabios-stdvga.bin', sentence: 'option ROM; empty for none' },
      { name: 'edid', type: 'bool', default: 'on', sentence: 'the monitor describes itself' },
      ...pci,
    ],
  },
  {
    name: 'isa-serial',
    bus: 'ISA',
    category: 'Input',
    sentence: 'Another serial port, 16550A',
    properties: [
      { name: 'chardev', type: 'str', sentence: 'the character device behind it' },
      { name: 'index', type: 'uint32', sentence: '0 for COM1 to 3 for COM4; the lowest free one unless given' },
      id,
    ],
  },
  {
    name: 'isa-debug-exit',
    bus: 'ISA',
    category: 'Misc',
    sentence: 'Port that ends the machine with a status',
    properties: [
      { name: 'iobase', type: 'uint32', default: '0x501', sentence: 'the port' },
      { name: 'iosize', type: 'uint32', default: '0x02', sentence: 'number of ports' },
      id,
    ],
  },
  {
    name: 'isa-debugcon',
    bus: 'ISA',
    category: 'Misc',
    sentence: 'Port that writes to a character device',
    properties: [
      { name: 'chardev', type: 'str', sentence: 'the character device behind it' },
      { name: 'iobase', type: 'uint32', default: '0xe9', sentence: 'the port' },
      id,
    ],
  },
  ...usbRows,
  {
    name: 'pvpanic',
    bus: 'ISA',
    category: 'Misc',
    sentence: 'Port by which the guest tells of a crash of its kernel',
    properties: [{ name: 'ioport', type: 'uint16', default: '0x505', sentence: 'the port' }, id],
  },
  {
    name: 'pvpanic-pci',
    bus: 'PCI',
    category: 'Misc',
    sentence: 'PCI device by which the guest tells of a crash of its kernel',
    properties: pci,
  },
  { name: 'i6300esb', bus: 'PCI', category: 'Misc', sentence: 'Watchdog of the Intel 6300ESB', properties: pci },
  { name: 'pc-testdev', bus: 'ISA', category: 'Misc', sentence: 'Test device of kvm-unit-tests', properties: [id] },
];

/** Devices that QEMU has and vring does not yet. */
const unsupportedDevices =
  /^(AC97|AMDVI-PCI|ES1370|acpi-erst|adlib|am53c974|amd-iommu|ati-vga|bochs-display|cirrus-vga|cs4231a|ctucan_pci|dc390|edu|gus|ib700|intel-(hda|iommu)|ioh3420|ipoctal232|kvaser_pci|guest-loader|lsi|lsi53c8\w+|megasas(-gen2)?|mioe3680_pci|mptsas1068|nvdimm|pc-dimm|pcm3680_pci|pcnet|pvrdma|pvscsi|qxl(-vga)?|ramfb|rocker|sb16|secondary-vga|sga|smbus-ipmi|tpci200|tulip|vmbus-bridge|vmcoreinfo|vmgenid|vmmouse|vmware-svga|vmxnet3|vt82c686b-usb-uhci|x-pci-proxy-dev|x3130-upstream|xio3130-downstream|i82\w+|isa-(applesmc|cirrus-vga|ide|ipmi-\w+|parallel|vga)|virtio-(9p|crypto|gpu-gl|iommu|mem|pmem|vga-gl|input-host)(-(device|pci|pci-(non-)?transitional))?)$|^(ccid|cxl|e1000e?|hda|hyperv?|hv|i2c|ich9|ide|ipmi-bmc|ivshmem|nec-usb|nvme-subsys|pci|pcie|piix[34]|pxb|qemu-xhci|scsi|sd|sdhci|tpm|u2f|usb|vfio|vhost)(-|$)/;

/** Properties that QEMU's devices have and vring's do not yet. */
export const unsupportedProperties = [
  'aerl',
  'aer_max_queued',
  'cmb_size_mb',
  'pmrdev',
  'subsys',
  'max_ioqpairs',
  'msix_qsize',
  'mdts',
  'vsl',
  'use-intel-id',
  'msix-exclusive-bar',
  'smart_critical_warning',
  'sriov_max_vfs',
  'zoned',
  'zoned.zone_size',
  'uuid',
  'shared',
  'detached',
  'ms',
  'mset',
  'pi',
  'pil',
  'pif',
  'eui64-default',
  'physical_block_size',
  'multifunction',
  'iothread',
  'num-queues',
  'romfile',
  'rombar',
  'iommu_platform',
  'write-cache',
  'rng',
  'max-bytes',
  'period',
  'emulated',
  'discard',
  'write-zeroes',
  'queue-size',
  'removable',
  'dpofua',
  'ver',
  'port_index',
  'port_wwn',
  'max_unmap_size',
  'max_io_size',
  'discard_granularity',
  'min_io_size',
  'opt_io_size',
  'scsi_version',
  'hotplug',
  'param_change',
  'seg_max_adjust',
  'rss',
  'hash',
  'failover',
  'failover_pair_id',
  'page-per-vq',
  'ats',
  'acpi-index',
  'msos-desc',
  'events',
  'pcap',
  'streams',
  'commandlog',
  'ports',
  'display',
  'head',
  'msi',
  'msix',
  'bandwidth',
  'maxframes',
];

/** A row, and which interfaces QEMU's names for one kind alone mean. */
export interface FoundDevice {
  readonly row: DeviceRow;
  readonly only?: 'transitional' | 'modern';
}

export function findDevice(name: string): FoundDevice | undefined {
  const match = /^(virtio-.*-pci)(-(?:non-)?transitional)$/.exec(name);
  const row = deviceRows.find((each) => each.name === (match?.[1] ?? name) || each.aliases?.includes(name));
  if (!row || !match) return row && { row };
  return { row, only: match[2] === '-transitional' ? 'transitional' : 'modern' };
}

/** QEMU has such a driver, whether vring has it or not. */
export const isDriver = (name: string): boolean => findDevice(name) !== undefined || unsupportedDevices.test(name);

/** The sentence about a device that is not there. */
export function noDevice(option: string, name: string): UsageError {
  if (unsupportedDevices.test(name)) return new UsageError(`${option}: the device '${name}' is not supported yet`);
  const names = deviceRows.flatMap((each) => [each.name, ...(each.aliases ?? [])]);
  return new UsageError(`${option}: there is no device '${name}'${didYouMean(name, names)}`);
}

/** Text of `-device help`. */
export function deviceHelp(): string {
  const lines: string[] = [];
  for (const category of ['Storage', 'USB', 'Network', 'Input', 'Display', 'Misc'] as const) {
    if (lines.length > 0) lines.push('');
    lines.push(`${category} devices:`);
    for (const row of deviceRows.filter((each) => each.category === category)) {
      const alias = row.aliases ? `, alias "${row.aliases[0]}"` : '';
      lines.push(`name "${row.name}", bus ${row.bus}${alias}, desc "${row.sentence}"`);
    }
  }
  return lines.join('\n');
}

/** Text of `-device NAME,help`. */
export function devicePropertiesHelp(row: DeviceRow): string {
  const lines = [...row.properties]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, type, sentence, default: fallback }) => [
      `${name}=<${type}>`,
      `${sentence}${fallback === undefined ? '' : ` (default: ${fallback})`}`,
    ]);
  const width = Math.max(22, ...lines.map(([head]) => head.length));
  return [`${row.name} options:`, ...lines.map(([head, text]) => `  ${head.padEnd(width)} - ${text}`)].join('\n');
}
