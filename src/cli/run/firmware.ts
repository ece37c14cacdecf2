/** Firmware and fw_cfg, as `-bios`, `-boot`, `-L` and `-fw_cfg` ask for them. */
import { VringError } from '../../base/index.js';
import { findFirmware, firmwareFolders } from '../../host/node/firmware-file.js';
import { readImage } from '../../host/node/image-file.js';
import type { Architecture } from '../../vmm/architectures.js';
import type { DiskImage, MachineFirmware, MachineOptions } from '../../vmm/index.js';
import { needsBios } from '../../vmm/kernel-images.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import { isFlashDrive, parseFlashDrive } from './drives.js';
import type { Options } from './given-options.js';

/** JAL x0, 0: a hart that is sent elsewhere never gets to it. */
const HERE = Uint8Array.of(0x6f, 0, 0, 0);

/**
 * What runs in M-mode: nothing unless asked for, for the board serves SBI calls itself. What flash banks have stands beside it.
 * `isEntered`: something loaded says where the first hart begins.
 */
export function planRiscvFirmware(options: Options, isEntered: boolean): MachineOptions['firmware'] {
  if (options.has('boot')) throw new UsageError("-boot is of use with a PC's firmware only");
  const given = options.last('bios');
  const kernel = options.last('kernel');
  const flash = planFlash(options);
  if (kernel === undefined && isEntered && (given ?? 'none') === 'none') return { image: HERE, flash };
  if (given === undefined) return flash && { flash };
  if (given !== 'none')
    return { image: needFirmware(given === 'default' ? 'fw_dynamic.bin' : given, options, 'opensbi'), flash };
  // What the second bank has starts in S-mode, and the kernel is its.
  if (flash?.[1] && !flash[0])
    throw new UsageError('-bios none: nothing in M-mode would start what the second flash chip has');
  if (flash?.[0]) return { flash };
  if (kernel === undefined) throw new UsageError('-bios none: the bare machine starts what -kernel names');
  return undefined;
}

/** `-bios none`: the kernel itself is what is in M-mode, unless a flash chip has what starts. */
export const startsKernelBare = (options: Options): boolean =>
  options.last('bios') === 'none' && planFlash(options)?.[0] === undefined;

/** The path of a firmware image. Throws VringError `firmware-missing`. */
function needFirmware(name: string, options: Options, debianPackage: string): string {
  const image = findFirmware(name, options.all('L'));
  if (image !== undefined) return image;
  throw new VringError(
    'firmware-missing',
    `There is no firmware '${name}'${name.includes('/') ? '' : ` in ${[...options.all('L'), ...firmwareFolders].join(', ')}: Debian's package ${debianPackage} has it, and -bios names another`}`,
  );
}

/** `-drive if=pflash` and `-pflash`: what the board's flash chips hold, in their order. */
function planFlash(options: Options): readonly (DiskImage | undefined)[] | undefined {
  const temporary = options.has('snapshot');
  const chips: (DiskImage | undefined)[] = [];
  const texts = [
    ...options.all('drive').filter(isFlashDrive),
    ...options.all('pflash').map((file) => `file=${file.replaceAll(',', ',,')},if=pflash`),
  ];
  for (const text of texts) {
    const { unit, image } = parseFlashDrive(text, temporary);
    const at = unit ?? [0, 1].find((i) => chips[i] === undefined) ?? 2;
    if (at > 1) throw new UsageError(`-drive ${text}: a board has two flash chips, units 0 and 1`);
    if (chips[at]) throw new UsageError(`-drive ${text}: there are two drives for flash chip ${at}`);
    chips[at] = image;
  }
  return texts.length === 0 ? undefined : [...chips];
}

/** Debian's packages with firmware, where it is not SeaBIOS. */
const firmwarePackages: Readonly<Partial<Record<Architecture['name'], string>>> = { aarch64: 'qemu-efi-aarch64' };

type BootPlan = Pick<
  MachineFirmware,
  'bootMenuMs' | 'bootDevices' | 'bootDevicesOnce' | 'bootStrict' | 'rebootTimeoutMs'
>;

/** What `-boot` says. Throws UsageError. */
export function planBoot(options: Options, architecture: string): BootPlan {
  let boot: BootPlan = {};
  for (const text of options.all('boot')) {
    const values = KeyValues.parse(`-boot ${text}`, text, 'order');
    const waitMs = values.number('splash-time', 0, 65535) ?? DEFAULT_MENU_MS;
    const timeout = values.text('reboot-timeout');
    if (timeout !== undefined && !(/^(-1|\d{1,5})$/.test(timeout) && Number(timeout) < 65536))
      throw new UsageError(`-boot ${text}: reboot-timeout is a number of milliseconds up to 65535, or -1`);
    boot = {
      bootMenuMs: values.flag('menu') ? waitMs : undefined,
      bootDevices: bootLetters(values.option, values.text('order')),
      bootDevicesOnce: bootLetters(values.option, values.text('once')),
      bootStrict: values.flag('strict'),
      rebootTimeoutMs: timeout === undefined ? undefined : Number(timeout),
    };
    // EDK II keeps its order in its variables.
    for (const key of ['order', 'once', 'reboot-timeout'])
      if (architecture === 'aarch64' && values.has(key))
        throw new UsageError(`-boot ${text}: ${key}= is of use with a PC's firmware only`);
    values.finish(['splash']);
  }
  return boot;
}

/** A to P, as drives were once named; each once. Throws UsageError. */
function bootLetters(option: string, letters: string | undefined): string | undefined {
  for (const [i, letter] of [...(letters ?? '')].entries()) {
    if (letter < 'a' || letter > 'p') throw new UsageError(`${option}: Invalid boot device '${letter}'`);
    if (letters?.indexOf(letter) !== i) throw new UsageError(`${option}: Boot device '${letter}' was given twice`);
  }
  return letters;
}

/** Firmware boots what is not a kernel that is put into memory. */
export function planFirmware(
  options: Options,
  { system }: { readonly system: boolean },
  { name, defaultFirmware }: Architecture,
  hasVga: boolean,
): MachineOptions['firmware'] {
  const given = options.last('bios');
  const boot = planBoot(options, name);
  const flash = planFlash(options);
  const isPc = name === 'x86_64' || name === 'i386';
  if (isPc && flash && !flash[0]) throw new UsageError('if=pflash: the first flash chip, unit=0, has the firmware');
  if (flash && (flash[0] ?? isPc) && options.has('bios'))
    throw new UsageError('-bios and if=pflash both say where the firmware is');
  // A VGA shows nothing until firmware has set it up.
  const kernel = options.last('kernel');
  const startsItself = kernel !== undefined && !hasVga && !(name === 'x86_64' && needsBios(kernel));
  if (given === undefined && !flash && (system || startsItself)) {
    // Beside -kernel it says nothing, as on QEMU: scripts have -boot c there.
    if (system && options.has('boot')) throw new UsageError('-boot: the system that is named starts by itself');
    return undefined;
  }
  const graphics = KeyValues.parse('-M', options.last('M') ?? 'pc', 'type').flag('graphics');
  const hasScreen = hasVga || options.has('display');
  const startsWithout = flash?.[0] !== undefined || (flash && startsItself);
  const image =
    given === undefined && startsWithout
      ? undefined
      : needFirmware(given ?? defaultFirmware ?? '', options, firmwarePackages[name] ?? 'seabios');
  const place = { ...(image === undefined ? {} : { image }), ...(flash && { flash }) };
  return { ...place, ...boot, serialConsole: !(graphics ?? (hasScreen && !options.has('nographic'))) };
}

/** What SeaBIOS itself waits. */
const DEFAULT_MENU_MS = 2500;

export function planFwCfg(text: string): { name: string; bytes: Uint8Array } {
  const option = `-fw_cfg ${text}`;
  const values = KeyValues.parse(option, text, 'name');
  const name = values.need('name');
  const string = values.text('string');
  const file = values.text('file');
  values.finish(['gen_id']);
  if (file !== undefined) {
    if (string !== undefined) throw new UsageError(`${option}: file= and string= cannot be given both`);
    return { name, bytes: readImage('The file', file, MOST_FW_CFG_BYTES) };
  }
  if (string === undefined) throw new UsageError(`${option}: file= or string= is missing`);
  return { name, bytes: new TextEncoder().encode(string) };
}

const MOST_FW_CFG_BYTES = 2 ** 31;
