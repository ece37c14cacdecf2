/**
 * The Linux kernel's NBD client (/dev/nbdN): its ioctls, through the FFI. NBD_DO_IT blocks for as long as the device is attached,
 * so it runs in a worker thread.
 */
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { Worker } from 'node:worker_threads';
import { BlockError, errorText, toBlockError } from '../../block/errors.js';
import { NodeByteStream } from './block-network.js';
import { loadKoffi } from './koffi.js';
import { errnoNameOf } from './posix.js';

/** linux/nbd.h: _IO(0xab, n). */
const NBD_SET_SOCK = 0xab00;
const NBD_SET_BLKSIZE = 0xab01;
const NBD_DO_IT = 0xab03;
const NBD_CLEAR_SOCK = 0xab04;
const NBD_SET_SIZE_BLOCKS = 0xab07;
const NBD_DISCONNECT = 0xab08;
const NBD_SET_FLAGS = 0xab0a;
const BLKROSET = 0x125d;
const sectorBytes = 512;
const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;

interface DeviceCalls {
  ioctl(fd: number, request: number, argument: number): number;
  ioctlPointer(fd: number, request: number, argument: Int32Array): number;
  socketpair(domain: number, type: number, protocol: number, pair: Int32Array): number;
  errno(): number;
}

function loadCalls(): DeviceCalls {
  try {
    const koffi = loadKoffi();
    const libc = koffi.load(null);
    return {
      ioctl: libc.func('ioctl', 'int', ['int', 'unsigned long', 'unsigned long']),
      ioctlPointer: libc.func('ioctl', 'int', ['int', 'unsigned long', koffi.inout('int *')]),
      socketpair: libc.func('int socketpair(int domain, int type, int protocol, _Out_ int *pair)'),
      errno: () => koffi.errno(),
    };
  } catch (error) {
    throw new BlockError('ENOTSUP', 'Kernel /dev/nbdN support not available: it needs the optional package koffi', {
      cause: error,
    });
  }
}

/** `complaint`: how qemu-nbd begins the sentence. */
function openDevice(path: string, complaint: 'Cannot open' | 'Failed to open'): number {
  try {
    return fs.openSync(path, 'r+');
  } catch (error) {
    const { code } = toBlockError(error);
    throw new BlockError(code, `${complaint} ${path}: ${errorText(code)}`, { cause: error });
  }
}

export function disconnectDevice(path: string): void {
  const fd = openDevice(path, 'Cannot open');
  try {
    const calls = loadCalls();
    calls.ioctl(fd, NBD_CLEAR_SOCK, 0);
    calls.ioctl(fd, NBD_DISCONNECT, 0);
    calls.ioctl(fd, NBD_CLEAR_SOCK, 0);
  } finally {
    fs.closeSync(fd);
  }
}

export interface DeviceExport {
  readonly lengthBytes: number;
  /** Transmission flags. */
  readonly flags: number;
}

/**
 * Attaches a device to one end of a socket pair: serve the transmission phase on `socket`. `done` settles when the device has been
 * detached.
 */
export async function attachDevice(
  path: string,
  entry: DeviceExport,
): Promise<{ readonly socket: NodeByteStream; readonly done: Promise<void> }> {
  const fd = openDevice(path, 'Failed to open');
  try {
    const calls = loadCalls();
    const check = (result: number, what: string): void => {
      if (result >= 0) return;
      const code = errnoNameOf(calls.errno());
      throw new BlockError(code, `Failed to ${what}: ${errorText(code)}`);
    };
    const pair = new Int32Array(2);
    check(calls.socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, pair), 'make a socket pair');
    const [near, far] = [pair[0]!, pair[1]!];
    check(calls.ioctl(fd, NBD_SET_SOCK, far), 'set NBD socket');
    check(calls.ioctl(fd, NBD_SET_BLKSIZE, sectorBytes), 'set NBD block size');
    check(calls.ioctl(fd, NBD_SET_SIZE_BLOCKS, Math.floor(entry.lengthBytes / sectorBytes)), 'set size');
    calls.ioctl(fd, NBD_SET_FLAGS, entry.flags);
    const isReadOnly = Int32Array.of(entry.flags & 2 ? 1 : 0);
    check(calls.ioctlPointer(fd, BLKROSET, isReadOnly), 'set read-only attribute');
    const worker = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads');
       const koffi = require(workerData.koffi);
       const ioctl = koffi.load(null).func('ioctl', 'int', ['int', 'unsigned long', 'unsigned long']);
       ioctl(workerData.fd, ${NBD_DO_IT}, 0);
       parentPort.postMessage(0);`,
      { eval: true, workerData: { fd, koffi: createRequire(import.meta.url).resolve('koffi') } },
    );
    const done = new Promise<void>((resolve, reject) => {
      worker.once('message', () => resolve());
      worker.once('error', (error) => reject(toBlockError(error)));
    }).finally(() => {
      calls.ioctl(fd, NBD_CLEAR_SOCK, 0);
      fs.closeSync(fd);
      fs.closeSync(far);
    });
    return { socket: new NodeByteStream(new net.Socket({ fd: near, readable: true, writable: true })), done };
  } catch (error) {
    try {
      fs.closeSync(fd);
    } catch {
      // Closed already.
    }
    throw error;
  }
}
