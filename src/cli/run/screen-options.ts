/** `-display`, `-vga`, `-vnc`: whether there is a screen, and who sees it. */
import { toBlockError } from '../../block/errors.js';
import { loadTlsCredentials } from '../../block/protocols/nbd/credentials.js';
import { keyboardLayouts } from '../../display/keyboard-layouts.js';
import type { NodeBlockHost } from '../../host/node/block-host.js';
import { findFirmware } from '../../host/node/firmware-file.js';
import type { Architecture } from '../../vmm/architectures.js';
import type { DeviceOptions, Machine, PciSlot, VirtioPlace, VncOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';
import type { RunPlan } from './run-plan.js';

export interface VncPlan {
  readonly option: string;
  readonly address:
    | { readonly type: 'inet'; readonly host: string; readonly port: number; readonly lastPort: number }
    | { readonly type: 'unix'; readonly path: string };
  /** Clients that come by websocket connect here. */
  readonly websocketPort: number | undefined;
  /** Clients need a password, which the monitor sets: until then none gets in. */
  readonly password: boolean;
  readonly sharing: VncOptions['sharing'];
  /** Id of the -object secret that is the password. */
  readonly passwordSecret: string | undefined;
  /** Id of the -object with the credentials of TLS. */
  readonly tlsCredentials: string | undefined;
}

export interface ScreenPlan {
  /** The kind of VGA that there is though no -device makes one. */
  readonly vga: 'std' | 'virtio' | undefined;
  /** The terminal shows the screen. */
  readonly text: boolean;
  /** Of the guest's keyboard. */
  readonly layout: string | undefined;
  readonly vnc: VncPlan | undefined;
}

const displays = ['none', 'text', 'vnc'];
const unsupportedDisplays = ['gtk', 'sdl', 'egl-headless', 'spice-app', 'cocoa', 'dbus'];
const unsupportedVgas = ['cirrus', 'vmware', 'qxl', 'tcx', 'cg3', 'xenfb'];
const VGA_ROM = { std: 'vgabios-stdvga.bin', virtio: 'vgabios-virtio.bin' } as const;
const FIRST_PORT = 5900;
const FIRST_WEBSOCKET_PORT = 5700;

/** Throws UsageError. */
export function planScreen(options: Options): ScreenPlan {
  const [display, vga, vnc] = ['display', 'vga', 'vnc'].map((name) => options.last(name));
  let address = vnc;
  let text = false;
  if (display !== undefined) {
    const word = display.split(/[,=]/)[0];
    if (word === 'vnc') {
      if (vnc !== undefined) throw new UsageError(`-display ${display}: -vnc and this cannot be given both`);
      address = display.slice('vnc='.length);
    } else if (display === 'text' || display === 'curses') text = true;
    else if (unsupportedDisplays.includes(word))
      throw new UsageError(`-display ${display}: this display is not supported yet; there are none, text and vnc`);
    else if (display !== 'none')
      throw new UsageError(
        `-display ${display}: there is no such display${didYouMean(word, [...displays, ...unsupportedDisplays])}`,
      );
  }
  if (vga !== undefined && vga !== 'std' && vga !== 'virtio' && vga !== 'none') {
    if (unsupportedVgas.includes(vga))
      throw new UsageError(`-vga ${vga}: this is not supported yet; there are std, virtio and none`);
    const names = ['std', 'virtio', 'none', ...unsupportedVgas];
    throw new UsageError(`-vga ${vga}: there is no '${vga}'${didYouMean(vga, names)}`);
  }
  const layout = options.last('k');
  if (layout !== undefined && !keyboardLayouts.includes(layout))
    throw new UsageError(
      `-k ${layout}: this keyboard layout is not supported yet; there are ${keyboardLayouts.join(', ')}, and clients' own key codes`,
    );
  const planned =
    address === undefined || address === 'none'
      ? undefined
      : planVnc(vnc === undefined ? `-display ${display}` : `-vnc ${vnc}`, address);
  const standard = text || planned !== undefined ? 'std' : undefined;
  return { vga: vga === undefined ? standard : vga === 'none' ? undefined : vga, text, layout, vnc: planned };
}

type VgaOptions = DeviceOptions & { type: 'vga' };
type GpuOptions = DeviceOptions & { type: 'virtio-gpu' };

/** `-device VGA` */
export function planVga(values: KeyValues, slot: PciSlot | undefined): VgaOptions {
  const megabytes = values.number('vgamem_mb', 1, 256);
  const rom = values.text('romfile');
  values.flag('edid');
  return {
    type: 'vga',
    slot,
    memoryBytes: megabytes === undefined ? undefined : megabytes << 20,
    ...(rom === undefined ? {} : { rom: rom === '' ? undefined : rom }),
  };
}

/** `-device virtio-gpu-pci`, `virtio-vga` and `virtio-gpu-device` */
export function planGpu(values: KeyValues, place: VirtioPlace | undefined, isVga: boolean): GpuOptions {
  const [width, height] = ['xres', 'yres'].map((name) => values.number(name, 64, 4095));
  values.flag('edid');
  if ((values.number('max_outputs', 1, 16) ?? 1) > 1)
    throw new UsageError(`${values.option}: more than one output is not supported yet`);
  const rom = isVga ? values.text('romfile') : undefined;
  return {
    type: 'virtio-gpu',
    ...place,
    preferred:
      width === undefined && height === undefined ? undefined : { width: width ?? 1280, height: height ?? 800 },
    vga: isVga ? (rom === undefined ? {} : { rom: rom === '' ? undefined : rom }) : undefined,
  };
}

const isDisplay = (device: DeviceOptions): boolean => device.type === 'vga' || device.type === 'virtio-gpu';

/** A VGA with its part of the firmware, without which a guest's own driver alone sets modes. */
function withRom(device: VgaOptions | GpuOptions, options: Options): VgaOptions | GpuOptions {
  const rom = findFirmware(VGA_ROM[device.type === 'vga' ? 'std' : 'virtio'], options.all('L'));
  return device.type === 'vga' ? { rom, ...device } : { ...device, vga: { rom, ...device.vga } };
}

/** Plugs a VGA in, if a screen wants one, and finds its part of the firmware. True: there is a VGA. Throws UsageError. */
export function plugVga(
  devices: DeviceOptions[],
  screen: ScreenPlan,
  options: Options,
  architecture: Architecture,
): boolean {
  if (screen.vga && !devices.some(isDisplay))
    devices.unshift(screen.vga === 'std' ? { type: 'vga' } : { type: 'virtio-gpu', vga: {} });
  const at = devices.findIndex((device) => device.type === 'vga' || (device.type === 'virtio-gpu' && device.vga));
  if (at < 0) return false;
  if (architecture.defaultFirmware === undefined)
    throw new UsageError(
      `A VGA is for PCs; a machine of ${architecture.name} has a screen with -device virtio-gpu-pci`,
    );
  devices[at] = withRom(devices[at] as VgaOptions | GpuOptions, options);
  return true;
}

/** The VGA of a PC that boots by firmware, for what takes one for granted (-vga none: there is none). */
export function plugDefaultVga(devices: DeviceOptions[], options: Options): void {
  if (!options.has('vga') && !devices.some(isDisplay)) devices.unshift(withRom({ type: 'vga' }, options));
}

function planVnc(option: string, text: string): VncPlan {
  const values = KeyValues.parse(option, text, 'vnc');
  const place = values.need('vnc');
  const password = values.flag('password') ?? false;
  const passwordSecret = values.text('password-secret');
  const tlsCredentials = values.text('tls-creds');
  const websocket = values.text('websocket');
  const more = values.number('to', 0, 65535) ?? 0;
  const sharing = values.choice('share', ['allow-exclusive', 'force-shared', 'ignore']) as VncPlan['sharing'];
  // What these choose is no different here: nothing that is sent is inexact.
  values.flag('non-adaptive');
  values.flag('lossy');
  // Sound goes nowhere: -audiodev takes driver=none alone.
  values.text('audiodev');
  values.finish([
    'sasl',
    'sasl-authz',
    'tls-authz',
    'reverse',
    'lock-key-sync',
    'key-delay-ms',
    'power-control',
    'ipv4',
    'ipv6',
    'display',
    'head',
    'id',
  ]);
  const unix = /^unix:(.+)$/.exec(place);
  if (unix) {
    if (websocket !== undefined) throw new UsageError(`${option}: a websocket needs a port, not a unix socket`);
    return {
      option,
      address: { type: 'unix', path: unix[1] },
      websocketPort: undefined,
      password: password || passwordSecret !== undefined,
      passwordSecret,
      tlsCredentials,
      sharing,
    };
  }
  const match = /^(.*):(\d{1,5})$/.exec(place);
  const number = Number(match?.[2]);
  if (!match || number + FIRST_PORT > 65535)
    throw new UsageError(`${option}: a display is HOST:N, :N or unix:PATH; N is added to port ${FIRST_PORT}`);
  let websocketPort: number | undefined;
  if (websocket === 'on') websocketPort = FIRST_WEBSOCKET_PORT + number;
  else if (websocket !== undefined && websocket !== 'off') {
    websocketPort = Number(websocket);
    if (!/^\d{1,5}$/.test(websocket) || websocketPort > 65535)
      throw new UsageError(`${option}: websocket is on, off or a port`);
  }
  const host = match[1].replace(/^\[(.*)\]$/, '$1') || '0.0.0.0';
  const port = FIRST_PORT + number;
  return {
    option,
    address: { type: 'inet', host, port, lastPort: Math.min(port + more, 65535) },
    websocketPort,
    password: password || passwordSecret !== undefined,
    passwordSecret,
    tlsCredentials,
    sharing,
  };
}

/** Serves the screen by VNC as planned; `host` has what -object makes. Throws VringError. */
export async function serveVnc(machine: Machine, plan: RunPlan, host: NodeBlockHost): Promise<void> {
  const { vnc } = plan.screen;
  if (!vnc) return;
  const { address, websocketPort, password: needsPassword, passwordSecret, tlsCredentials, sharing } = vnc;
  const password = passwordSecret === undefined ? undefined : host.secrets.get(passwordSecret);
  if (passwordSecret !== undefined && !password)
    throw new UsageError(`${vnc.option}: there is no -object secret,id=${passwordSecret}`);
  let tls: VncOptions['tls'];
  if (tlsCredentials !== undefined) {
    try {
      tls = await loadTlsCredentials(host, tlsCredentials, 'server');
    } catch (error) {
      throw new UsageError(`${vnc.option}: ${toBlockError(error).message}`);
    }
  }
  const name = plan.name === undefined ? 'vring' : `vring (${plan.name})`;
  await machine.serveVnc({
    address,
    websocketPort,
    needsPassword,
    password,
    tls,
    sharing,
    name,
    layout: plan.screen.layout,
  });
}
