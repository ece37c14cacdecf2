export * from './pictures.js';
export * from './surface.js';
