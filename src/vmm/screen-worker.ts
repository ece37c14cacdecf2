/**
 * The thread of a machine's screen: it draws the picture from the VGA's registers and memory, both of which it shares with the vCPU's
 * thread, and serves those who look at it. The guest runs on meanwhile. While nobody looks it sleeps.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { deflateSync } from 'node:zlib';
import { VringError } from '../base/index.js';
import { FrameRenderer, png, ppm, ScreenFrame, Surface } from '../display/index.js';
import { nameThread } from '../host/node/activity.js';
import { NodeServerTls } from '../host/node/server-tls.js';
import { listenForVnc, nodeVncHost, type VncListener } from '../host/node/vnc-host.js';
import { I8042State } from '../hw/i8042/i8042.js';
import { VgaRenderer, VgaState } from '../hw/vga/index.js';
import { StateArena } from '../schema/index.js';
import { type VncScreen, VncServer, type VncTls } from '../vnc/index.js';
import { ByteRing } from './byte-ring.js';
import { ringDoorbell } from './doorbell.js';
import { putInput, type ScreenEvent } from './screen-input.js';
import type {
  FromScreen,
  ScreenRequest,
  ScreenWorkerConfig,
  ToScreen,
  VncOptions,
  VncPlace,
  VncState,
} from './screen-protocol.js';
import { rungBy } from './worker-protocol.js';

/** Half a period of what blinks: 16 of 60 frames a second. */
const BLINK_MS = 267;
const POINT_RANGE = 0x7fff;

const config = workerData as ScreenWorkerConfig;
const owner = parentPort as NonNullable<typeof parentPort>;
const say = (message: FromScreen) => owner.postMessage(message);
nameThread('screen');

const arena = new StateArena(config.state, { attached: true });
const keyboard = config.hasKeyboard ? I8042State.allocate(arena).keyboard[0] : undefined;
const vga =
  config.vga &&
  new VgaRenderer(VgaState.allocate(arena), new Uint8Array(config.memory, config.vga.vramHva, config.vga.vramBytes));
const frame = new ScreenFrame(config.frame);
const gpu = new FrameRenderer(frame);
const surface = new Surface();
const input = new ByteRing(config.input);
const doorbell = new Int32Array(config.doorbell);

function send(event: ScreenEvent): void {
  if (putInput(input, event)) ringDoorbell(doorbell, rungBy.screen);
}

/** A VGA's picture is seen until a GPU has one. */
function draw(blinkOn: boolean): void {
  if (vga && !frame.isOn) {
    vga.draw(surface, blinkOn);
    gpu.invalidate();
  } else gpu.draw(surface);
}

/** The keyboard's lights, which evdev and the controller number otherwise than VNC: scroll, num, caps lock. */
function leds(): number {
  const { leds: evdev } = frame;
  if (evdev === undefined) return (keyboard?.LEDs ?? 0) & 7;
  return ((evdev & 1) << 1) | ((evdev & 2) << 1) | ((evdev & 4) >> 2);
}

const screen: VncScreen = {
  surface,
  refresh: () => draw(Math.floor(performance.now() / BLINK_MS) % 2 === 0),
  leds,
  key: (code, down) => send({ type: 'key', code, down }),
  move: (dx, dy, dz, buttons) => send({ type: 'move', dx, dy, dz, buttons }),
  get isAbsolute() {
    return frame.isAbsolute;
  },
  point: (x, y, dz, buttons) => send({ type: 'point', x: x * POINT_RANGE, y: y * POINT_RANGE, dz, buttons }),
  get pointerChanges() {
    return frame.pointerChanges;
  },
  get pointer() {
    return frame.pointer;
  },
  resize: config.isResizable ? (width, height) => send({ type: 'resize', width, height }) : undefined,
};

let vnc: VncServer | undefined;
let served: Omit<VncState, 'clients'> | undefined;

/** In QEMU's words. */
function authenticationOf({ needsPassword, password, tls }: Omit<VncOptions, 'address'>): string {
  const plain = needsPassword || password !== undefined ? 'vnc' : 'none';
  return tls ? `vencrypt+${tls.kind === 'anon' ? 'tls' : 'x509'}+${plain}` : plain;
}

/** Throws VringError `vnc-tls`. */
function serverTls(credentials: VncOptions['tls']): VncTls | undefined {
  if (!credentials) return undefined;
  const { kind } = credentials;
  if (kind === 'psk') throw new VringError('vnc-tls', 'VNC knows no pre-shared keys.');
  try {
    const tls = new NodeServerTls(credentials);
    return { kind, accept: (stream) => tls.accept(stream) };
  } catch (error) {
    throw new VringError('vnc-tls', (error as Error).message, { cause: error });
  }
}

async function serveVnc({ address, websocketPort, ...options }: VncOptions): Promise<VncPlace> {
  if (vnc) throw new VringError('vnc-served', 'The screen is served by VNC already.');
  const server = new VncServer({
    host: nodeVncHost,
    screen,
    name: options.name ?? 'vring',
    layout: options.layout,
    needsPassword: options.needsPassword ?? options.password !== undefined,
    sharing: options.sharing,
    tls: serverTls(options.tls),
  });
  server.setPassword(options.password);
  const listen = (at: Parameters<typeof listenForVnc>[0], websocket: boolean) =>
    listenForVnc(at, (stream, onEntered) => {
      const { remoteAddress: host, remotePort: port } = stream.socket;
      return server.serve(stream, { onEntered, websocket, peer: { host, port } });
    });
  let listener: VncListener | undefined;
  if (address.type === 'unix') listener = await listen(address, false);
  else {
    const { host, port, lastPort = port } = address;
    for (let at = port; listener === undefined; at++) {
      try {
        listener = await listen({ type: 'inet', host, port: at }, false);
      } catch (error) {
        if (at >= lastPort) throw error;
      }
    }
  }
  let websocket: VncListener | undefined;
  if (websocketPort !== undefined && address.type === 'inet') {
    try {
      websocket = await listen({ type: 'inet', host: address.host, port: websocketPort }, true);
    } catch (error) {
      listener.close();
      throw error;
    }
  }
  vnc = server;
  const place = { port: listener.port, websocketPort: websocket?.port };
  served = { ...place, address, authentication: authenticationOf(options) };
  return place;
}

async function answer(request: ScreenRequest): Promise<FromScreen['value']> {
  switch (request.type) {
    case 'picture':
      draw(true);
      return request.format === 'png' ? png(surface, (bytes) => deflateSync(bytes)) : ppm(surface);
    case 'text':
      return frame.isOn ? undefined : vga?.text();
    case 'serveVnc':
      return await serveVnc(request.options);
    case 'vncState':
      return served && vnc && { ...served, clients: vnc.clients };
    case 'vncPassword':
      if (!vnc) throw new VringError('vnc-absent', 'The screen is not served by VNC.');
      vnc.setPassword(request.password);
      return undefined;
  }
}

owner.on('message', ({ id, request }: ToScreen) => {
  answer(request).then(
    (value) => say({ type: 'reply', id, value }),
    (error: unknown) => {
      if (!(error instanceof VringError)) throw error;
      say({ type: 'reply', id, error: { code: error.code, message: error.message } });
    },
  );
});
