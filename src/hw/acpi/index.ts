export * from './acpi-board.js';
export * from './arm-tables.js';
export * from './table-set.js';
export * from './tables.js';
