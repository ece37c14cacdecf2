export * from './acpi-board.js';
export { pirqOf } from './dsdt.js';
export * from './tables.js';
