export * from './acpi-board.js';
export * from './arm-tables.js';
export * from './microvm-tables.js';
export type { AcpiPciExpress } from './pci-express-host.js';
export * from './table-set.js';
export * from './tables.js';
