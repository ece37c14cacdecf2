/** The commands of QMP about screen, keyboard and mouse. */
import { writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { keyCodes } from '../../../display/index.js';
import { openFailure } from '../../../host/node/open-failure.js';
import type { InputEvent, Machine } from '../../../vmm/index.js';
import { buttonsOf, holdButtons } from '../monitor-screen.js';
import { expireVncPassword, setVncPassword, vncAuthentication, vncClients, vncServers } from '../vnc-of-machine.js';
import { type QmpArguments, type QmpCommand, QmpError, type QmpHost } from './qmp-command.js';

const nothing = {};
const MOST_KEYS = 64;
const DEFAULT_HOLD_MS = 100;
const MOST_HOLD_MS = 60_000;

function keyCode(key: unknown): number {
  const { type, data } = (typeof key === 'object' && key !== null ? key : {}) as { type?: unknown; data?: unknown };
  if (type === 'number' && typeof data === 'number' && Number.isInteger(data) && data >= 0 && data <= 0xffff)
    return data > 0x7f && data <= 0xff ? 0xe000 | (data & 0x7f) : data;
  const code = type === 'qcode' && typeof data === 'string' ? keyCodes.get(data) : undefined;
  if (code === undefined)
    throw new QmpError('GenericError', `Parameter 'keys' has no key ${JSON.stringify(data ?? key)}`);
  return code;
}

async function sendKey({ machine }: QmpHost, given: QmpArguments): Promise<object> {
  const { keys, 'hold-time': hold = DEFAULT_HOLD_MS } = given;
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MOST_KEYS)
    throw new QmpError('GenericError', `Parameter 'keys' is a list of 1 to ${MOST_KEYS} keys`);
  if ((hold as number) < 0 || (hold as number) > MOST_HOLD_MS)
    throw new QmpError('GenericError', `Parameter 'hold-time' is 0 to ${MOST_HOLD_MS}`);
  const codes = keys.map(keyCode);
  const events = (down: boolean) => codes.map((code): InputEvent => ({ type: 'key', code, down }));
  await machine.sendInput(events(true));
  await wait(hold as number);
  await machine.sendInput(events(false).reverse());
  return nothing;
}

async function screendump({ machine }: QmpHost, given: QmpArguments): Promise<object> {
  const { filename, format = 'ppm' } = given;
  if (format !== 'ppm' && format !== 'png')
    throw new QmpError('GenericError', `Parameter 'format' does not accept value '${format}'`);
  const picture = await machine.screendump(format);
  try {
    await writeFile(String(filename), picture);
  } catch (error) {
    throw new QmpError('GenericError', `failed to open file '${filename}': ${openFailure(error)}`);
  }
  return nothing;
}

const MOST_EVENTS = 1024;
const MOST_PLACE = 0x7fff;
const BUTTONS: Readonly<Record<string, number>> = { left: 1, right: 2, middle: 4, side: 8, extra: 16 };
const WHEEL: Readonly<Record<string, number>> = { 'wheel-up': 1, 'wheel-down': -1 };

/** Places that a machine's pointer was last at. */
const places = new WeakMap<Machine, { x: number; y: number }>();

const invalid = (what: string) =>
  new QmpError('GenericError', `Invalid parameter type for 'events', expected: ${what}`);

const fields = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

/** QEMU's events: keys, buttons, steps and places, of which those between two keys happen together. */
async function sendEvents({ machine }: QmpHost, given: QmpArguments): Promise<object> {
  const { events } = given;
  if (!Array.isArray(events) || events.length > MOST_EVENTS) throw invalid(`a list of up to ${MOST_EVENTS} events`);
  const out: InputEvent[] = [];
  const place = { ...(places.get(machine) ?? { x: 0, y: 0 }) };
  let [dx, dy, dz, buttons] = [0, 0, 0, buttonsOf(machine)];
  let [isPlaced, isMoved] = [false, false];
  const flush = (): void => {
    if (isPlaced) out.push({ type: 'point', ...place, dz, buttons });
    if (isMoved && (!isPlaced || dx !== 0 || dy !== 0))
      out.push({ type: 'move', dx, dy, dz: isPlaced ? 0 : dz, buttons });
    [dx, dy, dz, isPlaced, isMoved] = [0, 0, 0, false, false];
  };
  for (const event of events) {
    const { type, data } = fields(event);
    const { key, down, button, axis, value } = fields(data);
    switch (type) {
      case 'key':
        if (typeof down !== 'boolean') throw invalid('a key that is down or not');
        flush();
        out.push({ type: 'key', code: keyCode(key), down });
        break;
      case 'btn': {
        const bit = BUTTONS[String(button)];
        const notch = WHEEL[String(button)];
        if (typeof down !== 'boolean' || (bit === undefined && notch === undefined)) throw invalid('a button');
        if (bit !== undefined) buttons = down ? buttons | bit : buttons & ~bit;
        else if (down) dz += notch ?? 0;
        isMoved = true;
        break;
      }
      case 'rel':
      case 'abs': {
        const isInRange = typeof value === 'number' && Number.isInteger(value) && Math.abs(value) <= MOST_PLACE;
        if (!isInRange || (axis !== 'x' && axis !== 'y')) throw invalid('a value on the axis x or y');
        if (type === 'rel') {
          if (axis === 'x') dx += value;
          else dy -= value;
          isMoved = true;
        } else {
          place[axis] = Math.max(0, value);
          isPlaced = true;
        }
        break;
      }
      default:
        throw invalid('key, btn, rel or abs');
    }
  }
  flush();
  places.set(machine, place);
  holdButtons(machine, buttons);
  await machine.sendInput(out);
  return nothing;
}

async function queryVnc({ machine }: QmpHost): Promise<object> {
  const state = await machine.vncState();
  if (!state) return { enabled: false };
  const { host, service, family } = vncServers(state)[0];
  return { enabled: true, host, service, family, auth: state.authentication, clients: vncClients(state) };
}

async function queryVncServers({ machine }: QmpHost): Promise<object> {
  const state = await machine.vncState();
  if (!state) return [];
  const how = vncAuthentication(state);
  const server = vncServers(state).map((each) => ({ ...each, ...how }));
  return [{ id: 'default', server, clients: vncClients(state), ...how }];
}

async function setPassword({ machine }: QmpHost, { password }: QmpArguments): Promise<object> {
  await setVncPassword(machine, String(password));
  return nothing;
}

export const screenCommands: readonly QmpCommand[] = [
  { name: 'query-mice', run: ({ machine }) => machine.mice() },
  {
    name: 'send-key',
    run: sendKey,
  },
  {
    name: 'screendump',
    run: screendump,
  },
  {
    name: 'input-send-event',
    run: sendEvents,
  },
  { name: 'query-vnc', run: queryVnc },
  { name: 'query-vnc-servers', run: queryVncServers },
  {
    name: 'set_password',
    run: setPassword,
  },
  {
    name: 'expire_password',
    run: async ({ machine }, { time }) => {
      await expireVncPassword(machine, String(time));
      return nothing;
    },
  },
  {
    name: 'change-vnc-password',
    run: setPassword,
  },
];
