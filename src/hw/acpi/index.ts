export * from './acpi-board.js';
export * from './tables.js';
