/** Limits of a drive, as -drive names them: `throttling.iops-total` and its kin, and the older names of most of them. */
import {
  checkThrottleLimits,
  type ThrottleLimit,
  type ThrottleLimits,
  throttleKinds,
  toBlockError,
} from '../../block/index.js';
import { UsageError } from '../usage-error.js';

const PREFIX = 'throttling.';
const shortScopes: Readonly<Record<string, string>> = { total: '', read: '_rd', write: '_wr' };

/** By the name without its prefix: the older name, where there is one. */
const limits = new Map<ThrottleLimit, string | undefined>([
  ...throttleKinds.flatMap((kind) => {
    const [unit, scope] = kind.split('-') as [string, string];
    const short = `${unit}${shortScopes[scope]}`;
    return [
      [kind, short],
      [`${kind}-max`, `${short}_max`],
      [`${kind}-max-length`, undefined],
    ] as const;
  }),
  ['iops-size', 'iops_size'],
]);

/** Takes them out of a drive's options; undefined: there is none. Throws UsageError. */
export function takeLimits(option: string, options: Record<string, unknown>): ThrottleLimits | undefined {
  const found: Partial<Record<ThrottleLimit, number>> = {};
  for (const [limit, short] of limits) {
    const name = `${PREFIX}${limit}`;
    const old = short === undefined ? undefined : options[short];
    if (old !== undefined && options[name] !== undefined)
      throw new UsageError(`${option}: '${name}' and its alias '${short}' can't be used at the same time`);
    const text = options[name] ?? old;
    delete options[name];
    if (short !== undefined) delete options[short];
    if (text === undefined) continue;
    if (!/^-?(\d+|0x[\da-f]+)$/i.test(String(text)))
      throw new UsageError(`${option}: Parameter '${name}' expects a number`);
    found[limit] = Number(text);
  }
  try {
    checkThrottleLimits((limit) => found[limit] ?? 0);
  } catch (error) {
    throw new UsageError(`${option}: ${toBlockError(error).message}`);
  }
  return Object.keys(found).length > 0 ? found : undefined;
}
