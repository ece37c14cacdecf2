/** `-gdb tcp:…`: one debugger at a time, between its socket and the machine's stub. As in QEMU, the machine stops when one comes. */
import { createServer, type Socket } from 'node:net';
import { openFailure } from '../../host/node/open-failure.js';
import { type Machine, VringError } from '../../vmm/index.js';
import type { GdbAddress } from './configure.js';

/** What gdb says when it leaves (protocol: `D`). */
const DETACH = '$D#44';

/** Listens; gives what ends it. Throws VringError `gdb-listen`. */
export async function serveGdb(machine: Machine, { host, port }: GdbAddress): Promise<() => void> {
  const stub = machine.gdb();
  let client: Socket | undefined;
  const server = createServer((socket) => {
    if (client) {
      socket.destroy();
      return;
    }
    client = socket;
    let ready: Promise<unknown> = machine.pause();
    const forward = (bytes: Uint8Array | string) => {
      ready = ready.then(() => stub.write(bytes)).catch(() => socket.destroy());
    };
    const endData = stub.onData((bytes) => {
      // gdb itself takes no bytes once it has gone.
      if (!socket.destroyed) socket.write(bytes);
    });
    socket.setNoDelay(true);
    socket.on('data', forward);
    socket.on('error', () => {});
    socket.on('close', () => {
      forward(DETACH);
      endData();
      client = undefined;
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new VringError('gdb-listen', `gdb cannot be waited for at ${host}:${port}: ${openFailure(error)}`, {
          cause: error,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
  server.on('error', () => {});
  return () => {
    client?.destroy();
    server.close();
  };
}
