/** `info block`: disks, or block nodes, and their images, line for line as QEMU tells of them. */
import type { BlockNodeDescription, MachineDisk } from '../../vmm/index.js';
import { imageText } from '../img/info.js';
import { UsageError } from '../usage-error.js';
import type { MonitorHost } from './monitor.js';
import { describeLimits } from './monitor-block.js';
import { deviceWith, diskPath, type NamedDevices } from './named-devices.js';

/** What has had its drive taken away, and has no name of its own. */
const nameless = '(no drive)';

const labelled = (label: string, text: string): string => `    ${`${label}:`.padEnd(17)} ${text}`;

/** What a node is and how it is opened, behind its name. */
function nodeText({ filename, driver, readonly, encrypted }: BlockNodeDescription): string {
  return `${filename} (${driver}${readonly ? ', read-only' : ''}${encrypted ? ', encrypted' : ''})`;
}

function nodeLines({ cache, images, detectZeroes }: BlockNodeDescription): string[] {
  const modes = [
    cache === 'writethrough' || cache === 'directsync' ? 'writethrough' : 'writeback',
    ...(cache === 'none' || cache === 'directsync' ? ['direct'] : []),
    ...(cache === 'unsafe' ? ['ignore flushes'] : []),
  ];
  return [
    labelled('Cache mode', modes.join(', ')),
    ...(images.length > 1
      ? [labelled('Backing file', `${images[1].filename} (chain depth: ${images.length - 1})`)]
      : []),
    ...(detectZeroes === 'off' ? [] : [labelled('Detect zeroes', detectZeroes)]),
  ];
}

const imageLines = ({ images }: BlockNodeDescription): string =>
  `\n\nImages:\n${images.map(imageText).join('').trimEnd()}`;

function diskText(disk: MachineDisk, node: BlockNodeDescription | undefined, devices: NamedDevices): string {
  const { id, isNode, inserted, removable, tray, trouble, limits } = disk;
  const device = deviceWith(devices, id);
  const locked = tray?.locked ? '' : 'not ';
  const own = isNode && device !== id ? '' : id;
  const title = own === '' && node ? node.nodeName : `${id || nameless}${node ? ` (${node.nodeName})` : ''}`;
  return [
    `${title}: ${inserted && node ? nodeText(node) : '[not inserted]'}`,
    ...(device === undefined ? [] : [labelled('Attached to', diskPath(devices, device))]),
    ...(removable ? [labelled('Removable device', `${locked}locked, tray ${tray?.open ? 'open' : 'closed'}`)] : []),
    ...(trouble === undefined ? [] : [labelled('I/O status', trouble === 'no-space' ? 'nospace' : trouble)]),
    ...(inserted && node ? nodeLines(node) : []),
    ...(inserted && Object.keys(limits).length > 0
      ? [labelled('I/O throttling', `${describeLimits(limits)} group=${id}`)]
      : []),
  ].join('\n');
}

/** `[-n] [-v] [NAME]`: -n: nodes rather than disks; -v: their images too. Throws UsageError. */
export async function describeDisks({ machine, namedDevices }: MonitorHost, argument: string): Promise<string> {
  const words = argument.split(/\s+/).filter((word) => word !== '');
  const [flags, names] = [words.filter((word) => word.startsWith('-')), words.filter((word) => !word.startsWith('-'))];
  const wrong = flags.find((flag) => !/^-[nv]+$/.test(flag)) ?? names[1];
  if (wrong !== undefined) throw new UsageError(`info block: '${wrong}' means nothing here`);
  const [isVerbose, areNodes] = ['v', 'n'].map((letter) => flags.some((flag) => flag.includes(letter)));
  const [disks, nodes] = await Promise.all([machine.disks(), machine.blockNodes()]);
  const imagesOf = (node: BlockNodeDescription | undefined) => (isVerbose && node ? imageLines(node) : '');
  const wanted = (name: string) => names.length === 0 || names[0] === name;
  const nodeShown = (node: BlockNodeDescription) => ({
    name: node.nodeName,
    text: [`${node.nodeName}: ${nodeText(node)}`, ...nodeLines(node)].join('\n') + imagesOf(node),
  });
  const diskShown = (disk: MachineDisk) => {
    const node = disk.inserted ? nodes.find(({ nodeName }) => nodeName === disk.nodeName) : undefined;
    return { name: disk.id, text: diskText(disk, node, namedDevices) + imagesOf(node) };
  };
  // Of nodes the last that was made comes first. An empty line comes before each but the first, shown or not.
  const all = areNodes ? nodes.toReversed().map(nodeShown) : disks.map(diskShown);
  return all.flatMap(({ name, text }, i) => (wanted(name) ? [`${i > 0 ? '\n' : ''}${text}`] : [])).join('\n');
}
