export { CdUnit } from './cd-unit.js';
export { ScsiBus, type UnitPlace } from './scsi-bus.js';
export { ScsiCd } from './scsi-cd.js';
export { ScsiDisk } from './scsi-disk.js';
export { ScsiUnit } from './scsi-unit.js';
