export * from './ata-disk.js';
export { AtapiDrive, type AtapiDriveOptions } from './atapi-drive.js';
export * from './drive.js';
export * from './medium.js';
