export { cdBlockBytes, type PacketWork } from '../scsi/cd-unit.js';
export * from './ata-disk.js';
export { AtapiDrive, type AtapiDriveOptions } from './atapi-drive.js';
export * from './drive.js';
export * from './medium.js';
export { rawBlockBytes } from './raw-blocks.js';
