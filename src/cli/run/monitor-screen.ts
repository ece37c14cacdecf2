/** The monitor's commands about screen, keyboard and mouse. */
import { writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { keyCodes } from '../../display/index.js';
import { openFailure } from '../../host/node/open-failure.js';
import { type InputEvent, type Machine, VringError } from '../../vmm/index.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { expireVncPassword, setVncPassword } from './vnc-of-machine.js';

interface ScreenHost {
  readonly machine: Machine;
}

const DEFAULT_HOLD_MS = 100;
const MOST_HOLD_MS = 60_000;
const MOST_KEYS = 16;

async function screendump({ machine }: ScreenHost, argument: string): Promise<string> {
  const match = /^(?:"([^"]+)"|(\S+))(?:\s+-f\s*(\S+))?$/.exec(argument.replace(/^-f\s*(\S+)\s+(.*)$/, '$2 -f $1'));
  if (!match) throw new UsageError('screendump: FILE [-f png|ppm] is needed');
  const path = match[1] ?? match[2];
  const format = match[3] ?? (/\.png$/i.test(path) ? 'png' : 'ppm');
  if (format !== 'png' && format !== 'ppm')
    throw new UsageError(`screendump: there is no format '${format}'; there are png and ppm`);
  const picture = await machine.screendump(format);
  try {
    await writeFile(path, picture);
  } catch (error) {
    throw new VringError('screendump', `'${path}' cannot be written: ${openFailure(error)}`, { cause: error });
  }
  return '';
}

/** `ctrl-alt-delete`, `0x1c`, each with how it is called. */
function parseKeys(text: string): number[] {
  const names = text.split('-');
  if (text === '' || names.length > MOST_KEYS) throw new UsageError('sendkey: KEYS [HOLD_MS] is needed');
  return names.map((name) => {
    if (/^0x[0-9a-f]{1,4}$/i.test(name)) {
      const code = Number(name);
      // As QEMU: bit 7 stands for the extended keys.
      return code > 0x7f && code <= 0xff ? 0xe000 | (code & 0x7f) : code;
    }
    const code = keyCodes.get(name);
    if (code === undefined)
      throw new UsageError(`sendkey: there is no key '${name}'${didYouMean(name, keyCodes.keys())}`);
    return code;
  });
}

async function sendkey({ machine }: ScreenHost, argument: string): Promise<string> {
  const [keys, hold, ...rest] = argument.split(/\s+/);
  if (rest.length > 0 || (hold !== undefined && !(/^\d+$/.test(hold) && Number(hold) <= MOST_HOLD_MS)))
    throw new UsageError(`sendkey: KEYS [HOLD_MS] is needed, the latter up to ${MOST_HOLD_MS}`);
  const codes = parseKeys(keys);
  const events = (down: boolean) => codes.map((code): InputEvent => ({ type: 'key', code, down }));
  await machine.sendInput(events(true));
  await wait(hold === undefined ? DEFAULT_HOLD_MS : Number(hold));
  await machine.sendInput(events(false).reverse());
  return '';
}

/** The buttons that monitors hold, as the mouse has them. */
const held = new WeakMap<Machine, number>();
export const buttonsOf = (machine: Machine): number => held.get(machine) ?? 0;
export const holdButtons = (machine: Machine, buttons: number): void => void held.set(machine, buttons);

async function moveMouse(machine: Machine, dx: number, dy: number, dz: number): Promise<string> {
  await machine.sendInput([{ type: 'move', dx, dy, dz, buttons: buttonsOf(machine) }]);
  return '';
}

/** `set_password vnc PASSWORD`, `change vnc password PASSWORD` */
export async function setPassword(machine: Machine, password: string | undefined): Promise<string> {
  if (password === undefined) throw new UsageError('the password of VNC is needed: set_password vnc PASSWORD');
  await setVncPassword(machine, password);
  return '';
}

/** `info mice` */
export async function describeMice({ machine }: ScreenHost): Promise<string> {
  const mice = await machine.mice();
  if (mice.length === 0) return 'No mouse devices connected';
  return mice
    .map(
      ({ index, name, current, absolute }) =>
        `${current ? '*' : ' '} Mouse #${index}: ${name}${absolute ? ' (absolute)' : ''}`,
    )
    .join('\n');
}

export const screenCommands = [
  {
    name: 'set_password',
    argument: 'vnc PASSWORD',
    sentence: 'the password of those who come by VNC from here on',
    run: (host: ScreenHost, argument: string): Promise<string> =>
      setPassword(host.machine, /^vnc\s+(\S+)(?:\s+keep)?$/.exec(argument)?.[1]),
  },
  {
    name: 'expire_password',
    argument: 'vnc now|never|+SECONDS|SECONDS',
    sentence: 'when the password of VNC ends: now, never, so soon, or so many seconds after 1970 began',
    run: async ({ machine }: ScreenHost, argument: string): Promise<string> => {
      const [, protocol, time] = /^(\S+)\s+(\S+)$/.exec(argument.trim()) ?? [];
      if (time === undefined) throw new UsageError('expire_password: vnc and a time are needed');
      if (protocol !== 'vnc') throw new UsageError(`invalid parameter value: ${protocol}`);
      await expireVncPassword(machine, time);
      return '';
    },
  },
  {
    name: 'screendump',
    argument: 'FILE [-f png|ppm]',
    sentence: 'saves the picture on the screen: PNG where the name says so, or PPM',
    run: screendump,
  },
  {
    name: 'sendkey',
    argument: 'KEYS [HOLD_MS]',
    sentence: 'presses keys together, as ctrl-alt-delete',
    run: sendkey,
  },
  {
    name: 'mouse_move',
    argument: 'DX DY [DZ]',
    sentence: 'moves the mouse: right, down, wheel',
    run: ({ machine }: ScreenHost, argument: string): Promise<string> => {
      const match = /^(-?\d{1,5})\s+(-?\d{1,5})(?:\s+(-?\d{1,5}))?$/.exec(argument);
      if (!match) throw new UsageError('mouse_move: DX DY [DZ] is needed');
      return moveMouse(machine, Number(match[1]), -Number(match[2]), Number(match[3] ?? 0));
    },
  },
  {
    name: 'mouse_set',
    argument: 'INDEX',
    sentence: 'which mouse hears of the mouse; info mice shows them',
    run: async ({ machine }: ScreenHost, argument: string): Promise<string> => {
      if (!/^\d{1,9}$/.test(argument)) throw new UsageError('mouse_set: the index of a mouse is needed');
      try {
        await machine.chooseMouse(Number(argument));
        return '';
      } catch (error) {
        if (!(error instanceof VringError) || error.code !== 'no-such-mouse') throw error;
        return error.message;
      }
    },
  },
  {
    name: 'mouse_button',
    argument: 'STATE',
    sentence: 'holds buttons of the mouse: 1 left, 2 middle, 4 right, added together',
    run: ({ machine }: ScreenHost, argument: string): Promise<string> => {
      if (!/^[0-7]$/.test(argument)) throw new UsageError('mouse_button: a number from 0 to 7 is needed');
      const state = Number(argument);
      holdButtons(machine, (state & 1) | ((state & 2) << 1) | ((state & 4) >> 1));
      return moveMouse(machine, 0, 0, 0);
    },
  },
] as const;
