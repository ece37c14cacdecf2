#!/usr/bin/env node
/**
 * Starts the program: as the build has bundled it, or from its single files, which are few where only the version is asked for. The build
 * bundles this file too (`dist/bundle/main.cjs`, the package's program): as CommonJS it begins without Node's loader of modules,
 * which costs a disk tool a fifth of its start. It names no `node:process`, whose import makes all of the process's streams.
 */
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { bundle } from '../host/node/bundles.js';

const called = basename(process.argv[1] ?? '');
const first = process.argv[2];
const isDiskTool = /^qemu-(img|io|nbd)$/.test(called) || /^(img|io|nbd)$/.test(first ?? '');
const file = first === '--version' ? undefined : bundle(isDiskTool ? 'disk-tools' : 'vring');

async function start(): Promise<void> {
  // A machine's thread takes as long to come up as all that is done before it has something to do.
  if (first === 'run' || called.startsWith('qemu-system-')) {
    const { letBackgroundGiveWay } = await import('../host/node/thread-priority.js');
    letBackgroundGiveWay();
    if (file) (await import('../host/node/machine-thread.js')).beginMachineThread();
  }
  if (file) createRequire(import.meta.url)(file);
  else await import('./program.js');
}

void start();
