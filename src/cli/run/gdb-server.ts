/** `-gdb tcp:…`: one debugger at a time, between its socket and the machine's stub. As in QEMU, the machine stops when one comes. */
import { createServer, type Socket } from 'node:net';
import { openFailure } from '../../host/node/open-failure.js';
import { VringError } from '../../vmm/index.js';
import { MonitorPackets } from './gdb-monitor.js';
import { Monitor, type MonitoredRun } from './monitor.js';
import type { GdbAddress } from './run-plan.js';

/** What gdb says when it leaves (protocol: `D`). */
const DETACH = '$D#44';

/** Listens; gives what ends it. gdb's `monitor` has the commands of the machine's monitor. Throws VringError `gdb-listen`. */
export async function serveGdb(address: GdbAddress, host: MonitoredRun): Promise<() => void> {
  const { machine } = host;
  const stub = machine.gdb();
  const monitor = new Monitor({ ...host, write: () => {} });
  let client: Socket | undefined;
  const server = createServer((socket) => {
    if (client) {
      socket.destroy();
      return;
    }
    client = socket;
    let ready: Promise<unknown> = machine.pause();
    const reply = (bytes: Uint8Array) => {
      // gdb itself takes no bytes once it has gone.
      if (!socket.destroyed) socket.write(bytes);
    };
    let written: Promise<unknown> = Promise.resolve();
    const forward = (bytes: Uint8Array | string) => {
      written = stub.write(bytes);
    };
    const packets = new MonitorPackets({
      forward,
      reply,
      run: async (line) => `${await monitor.execute(line)}\n`,
    });
    const then = (next: () => Promise<void> | void) => {
      ready = ready
        .then(next)
        .then(() => written)
        .catch(() => socket.destroy());
    };
    const endData = stub.onData(reply);
    socket.setNoDelay(true);
    socket.on('data', (bytes) => then(() => packets.receive(bytes)));
    socket.on('error', () => {});
    socket.on('close', () => {
      then(() => forward(DETACH));
      endData();
      client = undefined;
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new VringError(
          'gdb-listen',
          `gdb cannot be waited for at ${address.host}:${address.port}: ${openFailure(error)}`,
          {
            cause: error,
          },
        ),
      );
    });
    server.listen(address.port, address.host, resolve);
  });
  server.on('error', () => {});
  return () => {
    // What the stub said last, that the machine has ended, still goes out.
    client?.destroySoon();
    server.close();
  };
}
