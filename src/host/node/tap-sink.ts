/** A network behind a tap device of the host's: what a card sends, the host receives, and the other way round. */
import { spawnSync } from 'node:child_process';
import { VringError } from '../../base/index.js';
import type { FrameSink, GuestLink } from '../../net/index.js';
import { DescriptorSink } from './descriptor-sink.js';
import { TapDevice, type TapPlace } from './tap-device.js';

export interface TapBackend extends TapPlace {
  /** Programs that are called with the interface's name when it is there, and before it goes. */
  readonly script?: string | undefined;
  readonly downScript?: string | undefined;
}

/** Throws VringError `network-tap`. */
export function openTapSink(backend: TapBackend, link: GuestLink, report: (line: string) => void): FrameSink {
  const { script, downScript } = backend;
  const device = TapDevice.open(backend);
  if (script !== undefined) {
    const failed = runScript(script, device.name);
    if (failed !== undefined) {
      device.close();
      throw new VringError('network-tap', `network script ${script} failed: ${failed}`);
    }
  }
  return new DescriptorSink(device, link, report, () => {
    const failed = downScript === undefined ? undefined : runScript(downScript, device.name);
    if (failed !== undefined) report(`network script ${downScript} failed: ${failed}`);
  });
}

/** Undefined, or what went wrong. */
function runScript(script: string, name: string): string | undefined {
  const { status, signal, error } = spawnSync(script, [name], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (error) return 'it could not be started';
  if (signal) return `it was ended by ${signal}`;
  return status === 0 ? undefined : `it ended with status ${status}`;
}
