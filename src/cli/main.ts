#!/usr/bin/env node
/** Starts the program: as the build has bundled it, or from its single files. */
import { createRequire } from 'node:module';
import { bundle } from '../host/node/bundles.js';

const file = bundle('vring');
if (file) createRequire(import.meta.url)(file);
else await import('./program.js');
