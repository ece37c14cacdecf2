export * from './ich9-ahci.js';
