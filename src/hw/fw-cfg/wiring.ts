import type { Mapping, MemorySpace, PortSpace } from '../../bus/index.js';
import type { FwCfg } from './fw-cfg.js';

/** Ports 0x510-0x511 (selector, data) and 0x514-0x51b (DMA). */
export function wireFwCfg(ports: PortSpace, fwCfg: FwCfg, start = 0x510): Mapping[] {
  return [
    ports.add({ name: 'fw-cfg', start, size: 2, handler: fwCfg.ports }),
    ports.add({ name: 'fw-cfg-dma', start: start + 4, size: 8, handler: fwCfg.dmaPorts }),
  ];
}

/** In memory: data at 0 (8 bytes), selector at 8, DMA address at 16. */
export function wireFwCfgMemory(memory: MemorySpace, fwCfg: FwCfg, start: number): Mapping[] {
  return [
    memory.addWindow({ name: 'fw-cfg', start, size: 8, handler: fwCfg.data }),
    memory.addWindow({ name: 'fw-cfg-selector', start: start + 8, size: 2, handler: fwCfg.selector }),
    memory.addWindow({ name: 'fw-cfg-dma', start: start + 16, size: 8, handler: fwCfg.dmaPorts }),
  ];
}
