export * from './code-page.js';
export * from './frame.js';
export * from './keyboard-layouts.js';
export * from './keys.js';
export * from './pictures.js';
export * from './surface.js';
