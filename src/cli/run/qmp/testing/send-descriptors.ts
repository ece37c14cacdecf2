/** For tests: bytes with descriptors sent along on a unix socket (sendmsg(2), SCM_RIGHTS). */
import type { Socket } from 'node:net';
import { loadKoffi } from '../../../../host/node/koffi.js';
import { socketDescriptor } from '../../../../host/node/socket-descriptor.js';

/** `struct msghdr`, `struct iovec`, and control messages lie one behind the other. */
const IOVEC_AT = 56;
const CONTROL_AT = 72;

export function sendDescriptors(socket: Socket, text: string, descriptors: readonly number[]): void {
  const koffi = loadKoffi();
  const sendmsg = koffi.load(null).func('int64_t sendmsg(int fd, uint8_t *message, int flags)');
  const bytes = Buffer.from(text);
  const control = 16 + descriptors.length * 4;
  const dataAt = CONTROL_AT + ((control + 7) & ~7);
  const memory: unknown = koffi.alloc('uint8_t', dataAt + bytes.length);
  const address = koffi.address(memory);
  const view = new DataView(koffi.view(memory, dataAt + bytes.length));
  const words: readonly (readonly [number, bigint])[] = [
    [0, 0n],
    [8, 0n],
    [16, address + BigInt(IOVEC_AT)],
    [24, 1n],
    [32, address + BigInt(CONTROL_AT)],
    [40, BigInt(control)],
    [48, 0n],
    [IOVEC_AT, address + BigInt(dataAt)],
    [IOVEC_AT + 8, BigInt(bytes.length)],
    [CONTROL_AT, BigInt(control)],
    // SOL_SOCKET, SCM_RIGHTS.
    [CONTROL_AT + 8, 1n | (1n << 32n)],
  ];
  for (const [at, value] of words) view.setBigUint64(at, value, true);
  for (const [i, fd] of descriptors.entries()) view.setInt32(CONTROL_AT + 16 + i * 4, fd, true);
  new Uint8Array(view.buffer).set(bytes, dataAt);
  const sent = Number(sendmsg(socketDescriptor(socket) as number, memory, 0));
  koffi.free(memory);
  if (sent !== bytes.length) throw new Error(`sendmsg has sent ${sent} of ${bytes.length} bytes`);
}
