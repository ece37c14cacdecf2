/** `-display`, `-vga`, `-vnc`: whether there is a screen, and who sees it. */
import { findFirmware } from '../../host/node/firmware-file.js';
import type { Architecture } from '../../vmm/architectures.js';
import type { DeviceOptions, Machine, MachineOptions, VncOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import type { RunPlan } from './configure.js';
import type { Options } from './given-options.js';

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
}

export interface ScreenPlan {
  /** There is a standard VGA though no -device makes one. */
  readonly vga: boolean;
  /** The terminal shows the screen. */
  readonly text: boolean;
  readonly vnc: VncPlan | undefined;
}

const displays = ['none', 'text', 'vnc'];
const unsupportedDisplays = ['gtk', 'sdl', 'egl-headless', 'spice-app', 'cocoa', 'dbus'];
const unsupportedVgas = ['cirrus', 'vmware', 'qxl', 'virtio', 'tcx', 'cg3', 'xenfb'];
const VGA_ROM = 'vgabios-stdvga.bin';
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
  if (vga !== undefined && vga !== 'std' && vga !== 'none') {
    if (unsupportedVgas.includes(vga))
      throw new UsageError(`-vga ${vga}: this is not supported yet; there are std and none`);
    throw new UsageError(`-vga ${vga}: there is no '${vga}'${didYouMean(vga, ['std', 'none', ...unsupportedVgas])}`);
  }
  const planned =
    address === undefined || address === 'none'
      ? undefined
      : planVnc(vnc === undefined ? `-display ${display}` : `-vnc ${vnc}`, address);
  return { vga: vga === 'std' || (vga === undefined && (text || planned !== undefined)), text, vnc: planned };
}

/** `-device VGA` */
export function planVga(values: KeyValues, slot: number | undefined): DeviceOptions & { type: 'vga' } {
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

/** Plugs the VGA in, if a screen wants one, and finds its part of the firmware. True: there is a VGA. Throws UsageError. */
export function plugVga(
  devices: DeviceOptions[],
  screen: ScreenPlan,
  options: Options,
  architecture: Architecture,
): boolean {
  const isVga = ({ type }: DeviceOptions) => type === 'vga';
  if (screen.vga && !devices.some(isVga)) devices.unshift({ type: 'vga' });
  const at = devices.findIndex(isVga);
  if (at < 0) return false;
  if (architecture.defaultFirmware === undefined)
    throw new UsageError(`A VGA is for PCs; machines of ${architecture.name} have no screen yet`);
  // Without it a guest's own driver alone sets modes.
  const rom = findFirmware(VGA_ROM, options.all('L'));
  devices[at] = { rom, ...(devices[at] as DeviceOptions & { type: 'vga' }) };
  return true;
}

function planVnc(option: string, text: string): VncPlan {
  const values = KeyValues.parse(option, text, 'vnc');
  const place = values.need('vnc');
  const password = values.flag('password') ?? false;
  const passwordSecret = values.text('password-secret');
  const websocket = values.text('websocket');
  const more = values.number('to', 0, 65535) ?? 0;
  const sharing = values.choice('share', ['allow-exclusive', 'force-shared', 'ignore']) as VncPlan['sharing'];
  // What these choose is no different here: nothing that is sent is inexact.
  values.flag('non-adaptive');
  values.flag('lossy');
  values.finish([
    'tls-creds',
    'sasl',
    'sasl-authz',
    'tls-authz',
    'reverse',
    'lock-key-sync',
    'key-delay-ms',
    'audiodev',
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
    sharing,
  };
}

/** Serves the screen by VNC as planned. Throws VringError. */
export async function serveVnc(machine: Machine, plan: RunPlan, secrets: MachineOptions['secrets']): Promise<void> {
  const { vnc } = plan.screen;
  if (!vnc) return;
  const { address, websocketPort, password: needsPassword, passwordSecret, sharing } = vnc;
  const password = passwordSecret === undefined ? undefined : secrets?.[passwordSecret];
  if (passwordSecret !== undefined && !password)
    throw new UsageError(`${vnc.option}: there is no -object secret,id=${passwordSecret}`);
  const name = plan.name === undefined ? 'vring' : `vring (${plan.name})`;
  await machine.serveVnc({ address, websocketPort, needsPassword, password, sharing, name });
}
