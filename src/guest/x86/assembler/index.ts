export { type Assembly, type AssemblyOptions, assemble } from './assemble.js';
export { AssemblyError } from './expression.js';
