/**
 * The thread of a machine's screen: it draws the picture from the VGA's registers and memory, both of which it shares with the vCPU's
 * thread, and serves those who look at it. The guest runs on meanwhile. While nobody looks it sleeps.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { deflateSync } from 'node:zlib';
import { VringError } from '../base/index.js';
import { png, ppm, Surface } from '../display/index.js';
import { nameThread } from '../host/node/activity.js';
import { listenForVnc, nodeVncHost, type VncListener } from '../host/node/vnc-host.js';
import { I8042State } from '../hw/i8042/i8042.js';
import { VgaRenderer, VgaState } from '../hw/vga/index.js';
import { StateArena } from '../schema/index.js';
import { type VncScreen, VncServer } from '../vnc/index.js';
import { ByteRing } from './byte-ring.js';
import { ringDoorbell } from './doorbell.js';
import { type InputEvent, putInput } from './screen-input.js';
import type {
  FromScreen,
  ScreenRequest,
  ScreenWorkerConfig,
  ToScreen,
  VncOptions,
  VncPlace,
} from './screen-protocol.js';
import { rungBy } from './worker-protocol.js';

/** Half a period of what blinks: 16 of 60 frames a second. */
const BLINK_MS = 267;

const config = workerData as ScreenWorkerConfig;
const owner = parentPort as NonNullable<typeof parentPort>;
const say = (message: FromScreen) => owner.postMessage(message);
nameThread('screen');

const arena = new StateArena(config.state, { attached: true });
const keyboard = I8042State.allocate(arena).keyboard[0];
const renderer = new VgaRenderer(
  VgaState.allocate(arena),
  new Uint8Array(config.memory, config.vramHva, config.vramBytes),
);
const surface = new Surface();
const input = new ByteRing(config.input);
const doorbell = new Int32Array(config.doorbell);

function send(event: InputEvent): void {
  if (putInput(input, event)) ringDoorbell(doorbell, rungBy.screen);
}

const screen: VncScreen = {
  surface,
  refresh: () => renderer.draw(surface, Math.floor(performance.now() / BLINK_MS) % 2 === 0),
  leds: () => keyboard.LEDs & 7,
  key: (code, down) => send({ type: 'key', code, down }),
  move: (dx, dy, dz, buttons) => send({ type: 'move', dx, dy, dz, buttons }),
};

let vnc: VncServer | undefined;

async function serveVnc({ address, websocketPort, ...options }: VncOptions): Promise<VncPlace> {
  if (vnc) throw new VringError('vnc-served', 'The screen is served by VNC already.');
  const server = new VncServer({
    host: nodeVncHost,
    screen,
    name: options.name ?? 'vring',
    needsPassword: options.needsPassword ?? options.password !== undefined,
    sharing: options.sharing,
  });
  server.setPassword(options.password);
  const listen = (at: Parameters<typeof listenForVnc>[0], websocket: boolean) =>
    listenForVnc(at, (stream, onEntered) => server.serve(stream, { onEntered, websocket }));
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
  return { port: listener.port, websocketPort: websocket?.port };
}

async function answer(request: ScreenRequest): Promise<FromScreen['value']> {
  switch (request.type) {
    case 'picture':
      renderer.draw(surface, true);
      return request.format === 'png' ? png(surface, (bytes) => deflateSync(bytes)) : ppm(surface);
    case 'text':
      return renderer.text();
    case 'serveVnc':
      return await serveVnc(request.options);
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
