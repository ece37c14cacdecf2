/** What `-M` says of the boards `virt` beside their names, by QEMU's names. */
import type { Architecture } from '../../vmm/architectures.js';
import type { ArmOptions, MicrovmOptions, RiscvOptions } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';

/** Parts of an Arm system that are off unless asked for, and are not here yet. */
const absentOnArm = ['mte', 'ras'];

const armUnsupported = [
  ...['pflash0', 'pflash1', 'iommu', 'compact-highmem'],
  ...['default-bus-bypass-iommu', 'oem-id', 'oem-table-id', 'x-oem-id', 'x-oem-table-id'],
];
/** Properties of QEMU's boards that are refused by name. */
const unsupported: Readonly<Partial<Record<Architecture['name'], readonly string[]>>> = {
  riscv64: ['aclint', 'pflash0', 'pflash1', 'iommu-sys'],
  aarch64: armUnsupported,
  arm: armUnsupported,
};

/** Takes what the board has out of the values; gives the names of what it has not. Throws UsageError. */
export function planBoardProperties(values: KeyValues, { name }: Architecture): readonly string[] {
  if (name === 'aarch64' || name === 'arm') {
    for (const part of absentOnArm)
      if (values.flag(part)) throw new UsageError(`${values.option}: ${part}=on is not supported yet`);
    values.settled('iommu', 'none');
    // Of newer versions: one by one.
    for (const part of ['highmem-ecam', 'highmem-mmio', 'highmem-redists'])
      if (values.flag(part) === false) throw new UsageError(`${values.option}: ${part}=off is not supported`);
  }
  return unsupported[name] ?? [];
}

/** What `-M` says of RISC-V's board `virt`. Throws UsageError. */
export function planRiscv(values: KeyValues): RiscvOptions {
  const aia = values.choice('aia', ['none', 'aplic', 'aplic-imsic']);
  if ((values.number('aia-guests', 0, 7) ?? 0) > 0)
    throw new UsageError(`${values.option}: aia-guests= is for hypervisors, and harts have no such extension (H) yet`);
  return { aia };
}

/** What `-M microvm` says of its parts. Throws UsageError. */
export function planMicrovm(values: KeyValues): MicrovmOptions {
  // As on QEMU `auto` is on, but for PCI Express.
  if (values.flag('usb')) throw new UsageError(`${values.option}: usb=on is not supported yet`);
  return {
    acpi: values.onOffAuto('acpi'),
    pic: values.onOffAuto('pic'),
    pit: values.onOffAuto('pit'),
    rtc: values.onOffAuto('rtc'),
    serial: values.flag('isa-serial'),
    secondIoApic: values.onOffAuto('ioapic2'),
    autoCommandLine: values.flag('auto-kernel-cmdline'),
    pcie: values.onOffAuto('pcie'),
    optionRoms: values.flag('x-option-roms'),
  };
}

/** What `-M` says of Arm's board `virt` that the machine itself has to know; `narrow`: its CPUs are AArch32's. Throws UsageError. */
export function planArm(values: KeyValues, narrow: boolean): ArmOptions {
  const gic = values.choice('gic-version', ['2', '3', '4', 'max', 'host']);
  if (gic === 'host') throw new UsageError(`${values.option}: gic-version=host is KVM's; there are 2 and 3`);
  if (gic === '4') throw new UsageError(`${values.option}: gic-version=4 is not supported yet; there are 2 and 3`);
  const gicVersion = gic === undefined || gic === '2' ? 2 : 3;
  const virtualization = values.flag('virtualization') ?? false;
  const secure = values.flag('secure') ?? false;
  const absent =
    narrow && (virtualization ? 'virtualization=on' : secure ? 'secure=on' : gicVersion === 3 && `gic-version=${gic}`);
  if (absent) throw new UsageError(`${values.option}: ${absent} is not supported yet for Arm with 32 bits`);
  return {
    gicVersion,
    its: values.flag('its') ?? true,
    acpi: values.onOffAuto('acpi') ?? true,
    highmem: values.flag('highmem') ?? true,
    treeRandomness: values.flag('dtb-randomness') ?? values.flag('dtb-kaslr-seed') ?? true,
    virtualization,
    secure,
  };
}
