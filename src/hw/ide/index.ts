export * from './piix-ide.js';
