#!/usr/bin/env node
/** Starts the program: as the build has bundled it, or from its single files, which are few where only the version is asked for. */
import { createRequire } from 'node:module';
import { argv } from 'node:process';
import { bundle } from '../host/node/bundles.js';

const file = argv[2] === '--version' ? undefined : bundle('vring');
if (file) createRequire(import.meta.url)(file);
else await import('./program.js');
