/**
 * The thread of a machine's screen: it draws the picture from the VGA's registers and memory, both of which it shares with the vCPU's
 * thread, and serves those who look at it. The guest runs on meanwhile. While nobody looks it sleeps.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { deflateSync } from 'node:zlib';
import { VringError } from '../base/index.js';
import { png, ppm, Surface } from '../display/index.js';
import { nameThread } from '../host/node/activity.js';
import { I8042State } from '../hw/i8042/i8042.js';
import { VgaRenderer, VgaState } from '../hw/vga/index.js';
import { StateArena } from '../schema/index.js';
import type { FromScreen, ScreenRequest, ScreenWorkerConfig, ToScreen } from './screen-protocol.js';

const config = workerData as ScreenWorkerConfig;
const owner = parentPort as NonNullable<typeof parentPort>;
const say = (message: FromScreen) => owner.postMessage(message);
nameThread('screen');

const arena = new StateArena(config.state, { attached: true });
I8042State.allocate(arena);
const renderer = new VgaRenderer(
  VgaState.allocate(arena),
  new Uint8Array(config.memory, config.vramHva, config.vramBytes),
);
const surface = new Surface();

function answer(request: ScreenRequest): FromScreen['value'] {
  switch (request.type) {
    case 'picture':
      renderer.draw(surface, true);
      return request.format === 'png' ? png(surface, (bytes) => deflateSync(bytes)) : ppm(surface);
    case 'text':
      return renderer.text();
  }
}

owner.on('message', ({ id, request }: ToScreen) => {
  try {
    say({ type: 'reply', id, value: answer(request) });
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    say({ type: 'reply', id, error: { code: error.code, message: error.message } });
  }
});
