/** `img info`. */
import { describeImage, type ImageInfo, imageInfoJson } from '../../block/image-info.js';
import { integerText } from '../../block/options.js';
import { snapshotHeading, snapshotLine } from './snapshot-list.js';
import { humanSize, prettyJson, type Tool } from './tool.js';

/** Nested values as indented `name: value` lines, `-` in names as spaces. */
export function humanLines(value: unknown, indent: number): string {
  const pad = ' '.repeat(indent * 4);
  const entries: [string, unknown][] = Array.isArray(value)
    ? value.map((member, index) => [`[${index}]`, member])
    : Object.entries(value as Record<string, unknown>)
        .filter(([, member]) => member !== undefined)
        .map(([key, member]) => [key.replaceAll('-', ' '), member]);
  return entries
    .map(([key, member]) =>
      member !== null && typeof member === 'object'
        ? `${pad}${key}:\n${humanLines(member, indent + 1)}`
        : `${pad}${key}: ${String(member)}\n`,
    )
    .join('');
}

/** What a person sees of an image. */
export function imageText(info: ImageInfo): string {
  const actual = info.actualSize === undefined ? 'unavailable' : humanSize(info.actualSize);
  let text = `image: ${info.filename}\nfile format: ${info.format}\nvirtual size: ${humanSize(info.virtualSize)} (${integerText(info.virtualSize)} bytes)\ndisk size: ${actual}\n`;
  if (info.encrypted) text += 'encrypted: yes\n';
  if (info.clusterSize !== undefined) text += `cluster_size: ${info.clusterSize}\n`;
  if (info.isDirty) text += 'cleanly shut down: no\n';
  if (info.backingFile !== undefined) {
    text += `backing file: ${info.backingFile}`;
    if (info.fullBackingFile === undefined) text += ' (cannot determine actual path)';
    else if (info.fullBackingFile !== info.backingFile) text += ` (actual path: ${info.fullBackingFile})`;
    text += '\n';
    if (info.backingFormat !== undefined) text += `backing file format: ${info.backingFormat}\n`;
  }
  if (info.snapshots.length > 0)
    text += `Snapshot list:\n${snapshotHeading()}${info.snapshots.map(snapshotLine).join('')}`;
  if (info.specific) text += `Format specific information:\n${humanLines(info.specific.data, 1)}`;
  return text;
}

export async function info(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', long: 'format', value: true },
    { key: 'output', long: 'output', value: true },
    { key: 'chain', long: 'backing-chain' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'share', short: 'U', long: 'force-share' },
  ]);
  let format: string | undefined;
  let output = 'human';
  let [isChain, imageOptions, forceShare] = [false, false, false];
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'output') output = value;
    else if (key === 'chain') isChain = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'share') forceShare = true;
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  const isJson = tool.output(output);
  const infos: ImageInfo[] = [];
  const seen = new Set<string>();
  let filename: string | undefined = operands[0]!;
  while (filename !== undefined) {
    if (seen.has(filename)) tool.fail(`Backing file '${filename}' creates an infinite loop.`);
    seen.add(filename);
    const node = await tool.open({
      filename,
      format,
      imageOptions,
      forceShare,
      flags: { readOnly: true, noBacking: true, noIo: true },
    });
    try {
      infos.push(await describeImage(node));
    } finally {
      await node.close();
    }
    filename = undefined;
    const last: ImageInfo = infos.at(-1)!;
    imageOptions = false;
    if (isChain && last.backingFile !== undefined) {
      filename = last.fullBackingFile;
      if (filename === undefined) tool.error(`Could not determine the backing file name.`);
      format = last.backingFormat;
    }
  }
  if (isJson) tool.out(`${prettyJson(isChain ? infos.map(imageInfoJson) : imageInfoJson(infos[0]!))}\n`);
  else tool.out(infos.map(imageText).join('\n'));
  return 0;
}
