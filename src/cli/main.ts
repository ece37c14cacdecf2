#!/usr/bin/env node
/** Starts the program: as the build has bundled it, or from its single files, which are few where only the version is asked for. */
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { argv } from 'node:process';
import { bundle } from '../host/node/bundles.js';
import { beginMachineThread } from '../host/node/machine-thread.js';
import { letBackgroundGiveWay } from '../host/node/thread-priority.js';

const called = basename(argv[1] ?? '');
const isDiskTool = /^qemu-(img|io|nbd)$/.test(called) || /^(img|io|nbd)$/.test(argv[2] ?? '');
const file = argv[2] === '--version' ? undefined : bundle(isDiskTool ? 'disk-tools' : 'vring');
// A machine's thread takes as long to come up as all that is done before it has something to do.
if (argv[2] === 'run' || called.startsWith('qemu-system-')) {
  letBackgroundGiveWay();
  if (file) beginMachineThread();
}
if (file) createRequire(import.meta.url)(file);
else await import('./program.js');
