/** `-netdev tap` in QEMU's spelling. */
import { existsSync } from 'node:fs';
import type { TapOptions } from '../../vmm/index.js';
import { type KeyValues, parseSize } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';

const upScript = '/etc/qemu-ifup';
const downScript = '/etc/qemu-ifdown';
const MOST_QUEUES = 128;
/** What says how an interface is made, which others have made where descriptors are given. */
const makingKeys = ['ifname', 'script', 'downscript', 'vnet_hdr', 'queues'];

/** Throws UsageError. */
export function tapOf(values: KeyValues): TapOptions {
  const { option } = values;
  for (const key of ['helper', 'br'])
    if (values.has(key))
      throw new UsageError(
        `${option}: ${key}= is not supported yet; 'ip tuntap add mode tap user NAME' makes an interface for ifname=`,
      );
  for (const key of ['vhost', 'vhostforce']) values.settled(key, 'off', 'no', 'false');
  for (const key of ['vhostfd', 'vhostfds', 'poll-us'])
    if (values.has(key)) throw new UsageError(`${option}: ${key}= is for vhost, which is not supported yet`);
  const descriptors = descriptorsOf(values);
  const sendBuffer = values.text('sndbuf');
  const sendBufferBytes = sendBuffer === undefined ? undefined : parseSize(option, sendBuffer, 'B');
  if (descriptors) return { kind: 'tap', descriptors, sendBufferBytes };
  const ifname = values.text('ifname');
  if (ifname !== undefined && (ifname === '' || Buffer.byteLength(ifname) > 15))
    throw new UsageError(`${option}: the name of an interface has 1 to 15 bytes, not '${ifname}'`);
  return {
    kind: 'tap',
    ifname,
    queues: values.number('queues', 1, MOST_QUEUES),
    vnetHeader: values.flag('vnet_hdr'),
    sendBufferBytes,
    script: scriptOf(values.text('script') ?? upScript, option),
    downScript: values.has('downscript')
      ? scriptOf(values.need('downscript'), option)
      : existsSync(downScript)
        ? downScript
        : undefined,
  };
}

function descriptorsOf(values: KeyValues): number[] | undefined {
  const key = values.has('fd') ? 'fd' : 'fds';
  const text = values.text(key);
  if (text === undefined) return undefined;
  if (key === 'fd' && values.has('fds')) throw new UsageError(`${values.option}: fds= is invalid with fd=`);
  const others = makingKeys.filter((each) => values.has(each));
  if (others.length > 0)
    throw new UsageError(`${values.option}: ${others.map((each) => `${each}=`).join(', ')} is invalid with ${key}=`);
  const parts = key === 'fd' ? [text] : text.split(':');
  if (!parts.every((part) => /^\d{1,9}$/.test(part)) || parts.length > MOST_QUEUES)
    throw new UsageError(`${values.option}: ${key}=${text} is no descriptor: that is a number, as the process has it`);
  return parts.map(Number);
}

/** `no` stands for none. */
function scriptOf(script: string, option: string): string | undefined {
  if (script === 'no' || script === '') return undefined;
  if (!existsSync(script))
    throw new UsageError(
      `${option}: the network script ${script} is not there; script=no and downscript=no leave it out`,
    );
  return script;
}
