/** Serial ports, monitors and the debug console. */
import type { Architecture } from '../../vmm/architectures.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Chardev, Chardevs } from './chardevs.js';
import type { Options } from './given-options.js';
import type { Attachment, PlanContext } from './run-plan.js';

export interface Characters {
  readonly serialPorts: boolean[];
  readonly attachments: Attachment[];
  readonly debugcon: Chardev | undefined;
}

/** Serial ports, monitor and debug console, with QEMU's defaults. */
export function planCharacters(
  options: Options,
  chardevs: Chardevs,
  context: PlanContext,
  { name: architecture, serialPorts: mostSerial }: Architecture,
): Characters {
  for (const [name, words] of [['parallel', ['stdio', 'file', 'pty', 'vc']]] as const) {
    for (const text of options.all(name)) {
      if (text === 'none' || (name === 'parallel' && text === 'null')) continue;
      const word = text.split(/[,:]/)[0];
      const why = (words as readonly string[]).includes(word)
        ? 'this is not supported yet; there is none'
        : `there is no '${word}'`;
      throw new UsageError(`-${name} ${text}: ${why}`);
    }
  }

  const attachments: Attachment[] = [];
  const serialPorts: boolean[] = [];
  const monitorOn = (chardev: Chardev) => {
    chardevs.attach(chardev, 'the monitor');
    attachments.push({ from: { kind: 'monitor' }, chardev });
  };
  const qmpOn = (chardev: Chardev, pretty: boolean) => {
    if (chardev.mux) throw new UsageError(`The monitor for programs cannot share the character device '${chardev.id}'`);
    chardevs.attach(chardev, 'the monitor for programs');
    attachments.push({ from: { kind: 'qmp', pretty }, chardev });
  };
  const serialOn = (chardev: Chardev | undefined) => {
    const index = serialPorts.push(chardev !== undefined) - 1;
    if (!chardev) return;
    if (index >= mostSerial)
      throw new UsageError(
        `A machine of ${architecture} has at most ${mostSerial} serial port${mostSerial === 1 ? '' : 's'}`,
      );
    chardevs.attach(chardev, `serial port ${index}`);
    attachments.push({ from: { kind: 'serial', index }, chardev });
  };
  const serial = options.all('serial');
  const monitors = options.all('monitor');
  const shared: Chardev[] = [];
  for (const [i, text] of serial.entries()) {
    const chardev = chardevs.fromShorthand('-serial', text, `serial${i}`);
    serialOn(chardev);
    if (chardev && text.startsWith('mon:')) shared.push(chardev);
  }
  for (const chardev of shared) monitorOn(chardev);
  let monitorCount = 0;
  for (const text of monitors) {
    const chardev = chardevs.fromShorthand('-monitor', text, `compat_monitor${monitorCount++}`);
    if (chardev) monitorOn(chardev);
  }
  for (const text of options.all('mon')) {
    const values = KeyValues.parse(`-mon ${text}`, text, 'chardev');
    const chardev = chardevs.find(`-mon ${text}`, values.need('chardev'));
    const mode = values.choice('mode', ['readline', 'control']);
    const pretty = values.flag('pretty') ?? false;
    values.text('id');
    values.finish();
    if (mode === 'control') qmpOn(chardev, pretty);
    else monitorOn(chardev);
  }
  for (const name of ['qmp', 'qmp-pretty'])
    for (const text of options.all(name)) {
      const chardev = chardevs.fromShorthand(`-${name}`, text, `compat_monitor${monitorCount++}`);
      if (chardev) qmpOn(chardev, name === 'qmp-pretty');
    }
  // A named system has the terminal for itself, and what is here beside it is asked for.
  const defaults = !options.has('nodefaults') && !context.system;
  const onTerminal = defaults && (options.has('nographic') || !(options.has('display') || options.has('vnc')));
  // As QEMU's: a serial port of -device takes the place of the one that is there unasked.
  const defaultSerial = serial.length === 0 && mostSerial > 0 && !options.all('device').some(isSerial);
  const monitorGiven = monitors.length > 0 || shared.length > 0 || options.has('mon');
  const terminalFree = !chardevs.all.some(({ kind }) => kind === 'stdio');
  if (onTerminal && defaultSerial && !monitorGiven && terminalFree) {
    const chardev = chardevs.fromShorthand('-serial', 'mon:stdio', 'serial0') as Chardev;
    serialOn(chardev);
    monitorOn(chardev);
  } else if (onTerminal && options.has('nographic') && terminalFree && (defaultSerial || !monitorGiven)) {
    const chardev = chardevs.fromShorthand('-serial', 'stdio', 'stdio0') as Chardev;
    if (defaultSerial) serialOn(chardev);
    else monitorOn(chardev);
  } else if (defaults && defaultSerial) {
    // As QEMU's: the port is there, and what it sends is lost.
    serialPorts.push(true);
  }
  let debugcon: Chardev | undefined;
  for (const text of options.all('debugcon')) {
    if (debugcon) throw new UsageError('-debugcon can be given once');
    debugcon = chardevs.fromShorthand('-debugcon', text, 'debugcon');
  }
  return { serialPorts, attachments, debugcon };
}

const isSerial = (text: string): boolean => /^isa-serial\b|["']?driver["']?\s*[=:]\s*["']?isa-serial\b/.test(text);
