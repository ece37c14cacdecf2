/** Events of a machine as QMP tells them. */
import type { JobEvent, Machine } from '../../../vmm/index.js';
import { diskDevice, type NamedDevices } from '../named-devices.js';

export interface Asked {
  /** Whether the owner asked for the end. */
  readonly quit: boolean;
}

function tellOfJob(event: JobEvent, emit: (event: string, data?: object) => void): void {
  switch (event.what) {
    case 'status':
      emit('JOB_STATUS_CHANGE', { id: event.id, status: event.status });
      break;
    case 'error':
      emit('BLOCK_JOB_ERROR', { device: event.id, operation: event.operation, action: event.action });
      break;
    case 'pending':
      emit('BLOCK_JOB_PENDING', { type: event.job.type, id: event.job.id });
      break;
    default: {
      const { id, type, length, offset, speed, error } = event.job;
      const failure = error === undefined ? {} : { error };
      emit(`BLOCK_JOB_${event.what.toUpperCase()}`, { type, device: id, len: length, offset, speed, ...failure });
    }
  }
}

/** Tells `emit` of all that happens; gives what ends it. */
export function watchMachine(
  machine: Machine,
  devices: NamedDevices,
  asked: Asked,
  emit: (event: string, data?: object) => void,
): () => void {
  const shutdown = (guest: boolean, reason: string) => emit('SHUTDOWN', { guest, reason });
  let told = false;
  let runs = machine.state === 'running';
  const ends = [
    machine.on('state', (state) => {
      const ran = runs;
      runs = state === 'running';
      if (runs) emit('RESUME');
      else if (state === 'paused') {
        if (machine.stopReason === 'poweroff') {
          told = true;
          shutdown(true, 'guest-shutdown');
        }
        if (ran) emit('STOP');
      }
    }),
    machine.on('powerButton', () => emit('POWERDOWN')),
    machine.on('reset', (byHost) => {
      emit('RESET', { guest: !byHost, reason: byHost ? 'host-qmp-system-reset' : 'guest-reset' });
    }),
    machine.on('unplugged', (device, type) => {
      const path = `/machine/peripheral/${device}`;
      // QEMU's virtio devices are two: what is on the bus, and the device itself, which has no name.
      if (type.startsWith('virtio-')) emit('DEVICE_DELETED', { path: `${path}/virtio-backend` });
      // Behind USB a disk is a unit of its own as well.
      if (type === 'usb-storage') emit('DEVICE_DELETED', { path: `${path}/${device}.0/legacy[0]` });
      emit('DEVICE_DELETED', { device, path });
    }),
    machine.on('job', (event) => tellOfJob(event, emit)),
    machine.on('thresholdExceeded', ({ nodeName, thresholdBytes, exceededBytes }) =>
      emit('BLOCK_WRITE_THRESHOLD', {
        ...{ 'node-name': nodeName, 'amount-exceeded': exceededBytes, 'write-threshold': thresholdBytes },
      }),
    ),
    machine.on('panicked', (action) => emit('GUEST_PANICKED', { action })),
    machine.on('crashLoaded', () => emit('GUEST_CRASHLOADED', { action: 'run' })),
    machine.on('watchdog', (action) => emit('WATCHDOG', { action })),
    machine.on('trayMoved', (id, open) =>
      emit('DEVICE_TRAY_MOVED', { device: id, id: diskDevice(devices, id), 'tray-open': open }),
    ),
    machine.on('diskError', (device, { write, action, noSpace }) =>
      emit('BLOCK_IO_ERROR', {
        device,
        operation: write ? 'write' : 'read',
        action,
        nospace: noSpace,
        reason: noSpace ? 'No space left on device' : 'Input/output error',
      }),
    ),
    machine.on('ended', ({ why }) => {
      if (why === 'poweroff') {
        if (!told) shutdown(true, 'guest-shutdown');
      } else if (why === 'reset') shutdown(true, 'guest-reset');
      else if (why === 'panic') {
        emit('STOP');
        shutdown(true, 'guest-panic');
      } else if (why === 'quit') shutdown(false, asked.quit ? 'host-qmp-quit' : 'host-signal');
      else shutdown(true, 'guest-shutdown');
    }),
  ];
  return () => {
    for (const end of ends) end();
  };
}
