/** `img check`. Exit codes: 0 clean, 1 could not check, 2 corrupt, 3 leaks only, 63 the format has no check. */
import { errorCode, toBlockError } from '../../block/errors.js';
import type { CheckResult } from '../../block/node.js';
import { prettyJson, type Tool } from './tool.js';

export async function check(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', long: 'format', value: true },
    { key: 'repair', short: 'r', long: 'repair', value: true },
    { key: 'output', long: 'output', value: true },
    { key: 'cache', short: 'T', value: true },
    { key: 'quiet', short: 'q', long: 'quiet' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'share', short: 'U', long: 'force-share' },
  ]);
  let format: string | undefined;
  let output = 'human';
  let cacheMode = 'writeback';
  let [imageOptions, forceShare] = [false, false];
  let fix = { leaks: false, errors: false };
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'output') output = value;
    else if (key === 'cache') cacheMode = value;
    else if (key === 'repair') {
      if (value === 'leaks') fix = { leaks: true, errors: false };
      else if (value === 'all') fix = { leaks: true, errors: true };
      else tool.misuse(`Unknown option value for -r (expecting 'leaks' or 'all'): ${value}`);
    } else if (key === 'quiet') tool.quiet = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'share') forceShare = true;
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  const filename = operands[0]!;
  const isJson = tool.output(output);
  const isFixing = fix.leaks || fix.errors;
  const node = await tool.open({
    filename,
    format,
    imageOptions,
    forceShare,
    flags: { ...tool.cache(cacheMode, 'source cache option'), readOnly: !isFixing, unmap: true, check: true },
  });
  try {
    const checkImage = node.instance.check?.bind(node.instance);
    if (!checkImage) {
      tool.error('This image format does not support checks');
      return 63;
    }
    const run = async (how: { leaks: boolean; errors: boolean }): Promise<CheckResult> => {
      try {
        return await checkImage(how);
      } catch (error) {
        if (errorCode(error) === 'ENOTSUP') tool.fail('This image format does not support checks', 63);
        return tool.fail(`Check failed: ${toBlockError(error).message}`, 1);
      }
    };
    let result = await run(fix);
    const printLines = (lines: readonly string[]): void => {
      if (!tool.quiet) for (const line of lines) tool.io.err(`${line}\n`);
    };
    printLines(result.lines);
    const fixed = { leaks: result.leaksFixed, corruptions: result.corruptionsFixed };
    if (fixed.leaks > 0 || fixed.corruptions > 0) {
      if (!isJson) {
        tool.say(
          `The following inconsistencies were found and repaired:\n\n    ${fixed.leaks} leaked clusters\n    ${fixed.corruptions} corruptions\n\nDouble checking the fixed image now...\n`,
        );
      }
      result = await run({ leaks: false, errors: false });
      printLines(result.lines);
      result = { ...result, leaksFixed: fixed.leaks, corruptionsFixed: fixed.corruptions };
    }
    if (!tool.quiet) tool.out(isJson ? toJson(result, filename, node.driver.name) : toText(result));
    if (result.corruptions > 0) return 2;
    if (result.checkErrors > 0) {
      return 1;
    }
    return result.leaks > 0 ? 3 : 0;
  } finally {
    await node.close();
  }
}

/** Members in the order qemu-img prints them. */
function toJson(result: CheckResult, filename: string, format: string): string {
  const positive = (value: number | undefined): number | undefined => (value ? value : undefined);
  return `${prettyJson({
    'image-end-offset': positive(result.imageEndOffset),
    'compressed-clusters': positive(result.compressedClusters),
    'total-clusters': positive(result.totalClusters),
    corruptions: positive(result.corruptions),
    'corruptions-fixed': positive(result.corruptionsFixed),
    'check-errors': result.checkErrors,
    leaks: positive(result.leaks),
    'leaks-fixed': positive(result.leaksFixed),
    'allocated-clusters': positive(result.allocatedClusters),
    filename,
    format,
    'fragmented-clusters': positive(result.fragmentedClusters),
  })}\n`;
}

function toText(result: CheckResult): string {
  let text = '';
  if (!result.corruptions && !result.leaks && !result.checkErrors) text += 'No errors were found on the image.\n';
  else {
    if (result.corruptions) {
      text += `\n${result.corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n`;
    }
    if (result.leaks)
      text += `\n${result.leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n`;
    if (result.checkErrors) text += `\n${result.checkErrors} internal errors have occurred during the check.\n`;
  }
  const { totalClusters: total, allocatedClusters: allocated } = result;
  if (total && allocated !== undefined && allocated > 0) {
    const percent = (part: number, whole: number): string => twoDecimals((part * 100) / whole);
    text += `${allocated}/${total} = ${percent(allocated, total)}% allocated, ${percent(result.fragmentedClusters ?? 0, allocated)}% fragmented, ${percent(result.compressedClusters ?? 0, allocated)}% compressed clusters\n`;
  }
  if (result.imageEndOffset) text += `Image end offset: ${result.imageEndOffset}\n`;
  return text;
}

/** C's %0.2f: exact ties go to the even digit, where toFixed rounds up. */
function twoDecimals(value: number): string {
  const scaled = value * 100;
  const floor = Math.floor(scaled);
  return scaled - floor === 0.5 && floor % 2 === 0 ? (floor / 100).toFixed(2) : value.toFixed(2);
}
