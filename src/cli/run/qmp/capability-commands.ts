/**
 * What programs ask before they start a machine (QEMU's qapi/machine.json, qapi/qom.json, qapi/misc.json): boards, processors,
 * devices with their properties, options. All of it comes from the tables that the command line is read by.
 */
import { type Architecture, findArchitecture, type MachineType, ramIdOf } from '../../../vmm/architectures.js';
import type { OptionRow } from '../../options/option-row.js';
import { reference } from '../../version.js';
import { type DeviceRow, deviceRows, findDevice } from '../devices.js';
import { objectTypes, unsupportedObjects } from '../drives.js';
import { boardPartProperties } from '../globals.js';
import { ioThreads } from '../monitor.js';
import { type NamedDevice, type NamedDevices, propertyOf } from '../named-devices.js';
import { machineProperties, runOptions } from '../options.js';
import { boardObjectTypes } from '../plan-objects.js';
import { type QmpCommand, QmpError, type QmpHost } from './qmp-command.js';

/** The name with QEMU's version, where the board has one: `pc-i440fx-7.2`. */
function versionedName({ name, versioned }: MachineType): string {
  const version = `${reference.major}.${reference.minor}`;
  return versioned?.source.replace(/^\^|\$$/g, '').replace('\\d+\\.\\d+', version) ?? name;
}

const cpuType = (model: string, { name }: Architecture): string => `${model}-${name}-cpu`;

/** Models in the order of `-cpu help`. */
function cpuModels(architecture: Architecture): string[] {
  const [, ...lines] = architecture.cpuHelp().split('\n\n')[0].split('\n');
  return lines.flatMap((line) => /^ +(\S+)/.exec(line)?.[1] ?? []);
}

/** With -M none, which PCs have. */
function boardsOf({ machines }: Architecture): readonly MachineType[] {
  return machines[0].name === 'pc'
    ? [...machines, { name: 'none', sentence: 'empty machine', ramId: 'ram' }]
    : machines;
}

function machinesOf(architecture: Architecture): object[] {
  return boardsOf(architecture).map((row, i) => {
    const name = versionedName(row);
    return {
      name,
      ...(name === row.name ? {} : { alias: row.name }),
      ...(i === 0 ? { 'is-default': true } : {}),
      'cpu-max': row.name === 'none' ? 1 : architecture.maxCpus,
      'hotpluggable-cpus': false,
      'numa-mem-supported': false,
      deprecated: false,
      ...(row.name === 'none' ? {} : { 'default-cpu-type': cpuType(architecture.defaultCpu, architecture) }),
      'default-ram-id': ramIdOf(row),
    };
  });
}

function typesOf(architecture: Architecture): { name: string; parent: string }[] {
  const { buses } = architecture;
  return [
    ...deviceRows
      .filter(({ bus }) => buses.includes(bus))
      .map(({ name, bus }) => ({ name, parent: bus === 'PCI' ? 'pci-device' : 'device' })),
    ...boardsOf(architecture).map((row) => ({ name: `${versionedName(row)}-machine`, parent: 'machine' })),
    ...cpuModels(architecture).map((model) => ({ name: cpuType(model, architecture), parent: 'cpu' })),
    ...architecture.accelerators.map((name) => ({ name: `${name}-accel`, parent: 'accel' })),
    ...[...objectTypes, ...boardObjectTypes].map((name) => ({ name, parent: 'object' })),
  ];
}

const propertiesOf = ({ properties }: DeviceRow) =>
  properties
    .filter(({ name }) => name !== 'id' && name !== 'bus')
    .map(({ name, type, sentence }) => ({ name, type, description: sentence }));

/** The keys that the summary of an option's argument shows: `[size=]MEGS,slots=N`. */
function keysOf({ argument = '' }: OptionRow): { name: string; type: 'string' }[] {
  return [...argument.matchAll(/([a-z][\w-]*)=/g)].map(([, name]) => ({ name, type: 'string' }));
}

/** A device by its path. Throws QmpError. */
function deviceAt(devices: NamedDevices, path: unknown): NamedDevice {
  const id = /^\/machine\/peripheral\/([^/]+)$/.exec(String(path))?.[1];
  const found = id === undefined ? undefined : devices.get(id);
  if (found) return found;
  throw new QmpError('DeviceNotFound', `Device '${String(path)}' not found`);
}

const architectureOf = ({ architecture }: QmpHost) => findArchitecture(architecture);

export const capabilityCommands: readonly QmpCommand[] = [
  { name: 'query-machines', run: (host) => machinesOf(architectureOf(host)) },
  { name: 'query-iothreads', run: ({ objects }) => ioThreads(objects) },
  // A machine cannot move to another process: there is nothing that could be switched on.
  { name: 'query-migrate-capabilities', run: () => [] },
  {
    // libvirt asks for events of a move, whatever there is, when it starts a machine.
    name: 'migrate-set-capabilities',
    run: () => ({}),
  },
  {
    name: 'query-cpu-definitions',
    run: (host) =>
      cpuModels(architectureOf(host)).map((name) => ({
        name,
        typename: cpuType(name, architectureOf(host)),
        static: name === 'base',
        'migration-safe': name !== 'max' && name !== 'host',
        'unavailable-features': [],
        deprecated: false,
      })),
  },
  {
    name: 'query-command-line-options',
    run: (_host, { option }) => {
      const rows = runOptions.filter(({ name, argument }) => argument !== undefined && (!option || name === option));
      if (option !== undefined && rows.length === 0)
        throw new QmpError('GenericError', `Invalid option name: ${String(option)}`);
      return rows.map((row) => ({ option: row.name === 'M' ? 'machine' : row.name, parameters: keysOf(row) }));
    },
  },
  {
    name: 'qom-list-types',
    run: (host, given) => {
      const wanted = given['implements'];
      return typesOf(architectureOf(host)).filter(
        ({ name, parent }) => wanted === undefined || wanted === 'object' || wanted === name || wanted === parent,
      );
    },
  },
  {
    name: 'device-list-properties',
    run: (_host, { typename }) => {
      const found = findDevice(String(typename));
      const part = found ? [] : boardPartProperties(String(typename));
      if (part.length > 0) return part.map((name) => ({ name, type: 'str' }));
      if (!found) throw new QmpError('DeviceNotFound', `Device '${String(typename)}' not found`);
      return propertiesOf(found.row);
    },
  },
  {
    name: 'qom-list-properties',
    run: (host, { typename }) => {
      const found = findDevice(String(typename));
      if (found) return propertiesOf(found.row);
      // Of what is refused by name there are none; libvirt takes an error here for what cannot be.
      if (unsupportedObjects.includes(String(typename))) return [];
      const type = typesOf(architectureOf(host)).find(({ name }) => name === typename);
      if (!type) throw new QmpError('DeviceNotFound', `Class '${String(typename)}' not found`);
      if (type.parent !== 'machine') return [];
      return machineProperties.map(({ name, sentence }) => ({ name, type: 'string', description: sentence }));
    },
  },
  {
    name: 'qom-list',
    // Of the tree only devices with a name and the vCPUs are shown, which query-cpus-fast names.
    run: ({ cpus, namedDevices }, { path }) => {
      if (path === '/machine/peripheral')
        return [...namedDevices].map(([name, { row }]) => ({ name, type: `child<${row.name}>` }));
      const type = { name: 'type', type: 'string' };
      const index = /^\/machine\/unattached\/device\[(\d+)\]$/.exec(String(path))?.[1];
      if (index !== undefined && Number(index) < cpus) return [type];
      return [type, ...propertiesOf(deviceAt(namedDevices, path).row)];
    },
  },
  {
    name: 'qom-get',
    run: ({ namedDevices }, { path, property }) => {
      const device = deviceAt(namedDevices, path);
      const value = propertyOf(device, String(property));
      if (value === undefined)
        throw new QmpError('GenericError', `Property '${device.row.name}.${property}' not found`);
      return value;
    },
  },
];
