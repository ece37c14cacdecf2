/** `-global DRIVER.PROPERTY=VALUE`: what a property of -device is unless the device says otherwise. */
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import { type DeviceRow, isDriver } from './devices.js';

/** Properties of what is on the board itself, with the values that hold here in any case. */
const settled: Readonly<Record<string, RegExp>> = {
  // There is no suspending, to memory or to disk.
  'PIIX4_PM.disable_s3': /^(1|on)$/,
  'PIIX4_PM.disable_s4': /^(1|on)$/,
  'ICH9-LPC.disable_s3': /^(1|on)$/,
  'ICH9-LPC.disable_s4': /^(1|on)$/,
  // Of KVM's 8254 when it is late; the one that is here is never late in its own time.
  'kvm-pit.lost_tick_policy': /^(delay|discard)$/,
  // There is no SMM.
  'cfi.pflash01.secure': /^off$/,
  'virtio-blk-pci.scsi': /^off$/,
};

/** Drivers of what boards have in any case, by QEMU's names. */
const boardParts =
  /^(PIIX[34]|PIIX4_PM|piix3-ide|ICH9-\w+|ich9-ahci|i440FX(-pcihost)?|mch|q35-pcihost|mc146818rtc|isa-(fdc|pit|pcspk|i8259)|hpet|i8042|(kvm-)?(pit|apic|ioapic|i8259)|apic|ioapic|port92|vmport|fw_cfg(_io|_mem)?|cfi\.pflash01|gpex-pcihost|pl0\w+|arm-gic\w*|virtio-mmio|[\w.-]+-cpu)$/;

/** Properties that can be chosen. */
const chosen = ['virtio-mmio.force-legacy'];

/** Names of the properties of such a part. */
export function boardPartProperties(driver: string): string[] {
  return [...Object.keys(settled), ...chosen].flatMap((name) =>
    name.startsWith(`${driver}.`) ? [name.slice(driver.length + 1)] : [],
  );
}

export class Globals {
  readonly #all: { driver: string; property: string; value: string; option: string; used: boolean }[];

  /** Throws UsageError. */
  constructor(texts: readonly string[]) {
    this.#all = texts.map((text) => {
      const option = `-global ${text}`;
      const short = /^([^,=]+)\.([^.,=]+)=(.*)$/.exec(text);
      if (short) return { option, driver: short[1], property: short[2], value: short[3], used: false };
      const values = KeyValues.parse(option, text);
      const [driver, property, value] = ['driver', 'property', 'value'].map((key) => values.need(key));
      values.finish();
      return { option, driver, property, value, used: false };
    });
  }

  /** A device's values, with what is said of all of its kind. */
  apply(values: KeyValues, { name, aliases = [] }: DeviceRow): KeyValues {
    const own = this.#all.filter(({ driver }) => driver === name || aliases.includes(driver));
    for (const row of own) row.used = true;
    return values.withDefaults(own.map(({ property, value }) => [property, value]));
  }

  /** One property of a device that is there without -device. */
  take(driver: string, property: string): string | undefined {
    const own = this.#all.filter((row) => row.driver === driver && row.property === property);
    for (const row of own) row.used = true;
    return own.at(-1)?.value;
  }

  /** The same of what is on or off. Throws UsageError. */
  takeFlag(driver: string, property: string): boolean | undefined {
    const text = this.take(driver, property);
    return text === undefined
      ? undefined
      : new KeyValues(`-global ${driver}.${property}=${text}`, [[property, text]]).flag(property);
  }

  /**
   * What nobody has used and is not of a device that is there changes nothing, as in QEMU; gives warnings. `isThere`: whether a device
   * of that driver is there without -device. Throws UsageError for what would change one.
   */
  finish(isThere: (driver: string) => boolean): string[] {
    const warnings: string[] = [];
    for (const { driver, property, value, option, used } of this.#all) {
      if (used || settled[`${driver}.${property}`]?.test(value)) continue;
      if (boardParts.test(driver) || isThere(driver))
        throw new UsageError(`${option}: this is supported for devices of -device only`);
      if (!isDriver(driver)) warnings.push(`warning: global ${driver}.${property} has invalid class name`);
    }
    return warnings;
  }
}
