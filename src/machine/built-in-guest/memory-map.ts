/** Where the built-in guest keeps what. All of it lies in the first 2 MiB, the least that a machine has. */

/** Guest-physical addresses. */
export const gpa = {
  /** Page tables, a page each: the four levels of the first GiB, of the last below 4 GiB, and of ring 3's. */
  PML4: 0x1000,
  PDPT: 0x2000,
  PD_LOW: 0x3000,
  PD_HIGH: 0x4000,
  PD_USER: 0x5000,
  PT_USER: 0x6000,
  PT_ZONE: 0x7000,
  IDT: 0x8000,
  /** Two virtqueues for each of eight virtio devices, a page each. */
  QUEUES: 0x10000,
  /** What devices read and write. */
  BUFFERS: 0x20000,
  USER_STACK: 0x30000,
  /** The one frame that is mapped wherever ring 3 touches the zone. */
  ZONE_FRAME: 0x31000,
  /** What ring 0 lets ring 3 read. */
  SHARED: 0x32000,
  /** Pages that go into the balloon. */
  BALLOON: 0x40000,
  STACK_TOP: 0x60000,
  /** The stack that the processor takes when ring 3 is interrupted. */
  RING0_STACK_TOP: 0x70000,
  KERNEL: 0x100000,
  PCI_WINDOW: 0xe0000000,
} as const;

/** Guest-virtual addresses of ring 3. Ring 0 sees all memory at its guest-physical address. */
export const gva = {
  USER: 0x40000000,
  USER_STACK_TOP: 0x40011000,
  USER_SHARED: 0x40020000,
  /** 2 MiB in which nothing is mapped until it is touched. */
  ZONE: 0x40200000,
} as const;

/** Segment selectors: 16 and 32 bits are left behind at start. */
export const selector = {
  CODE32: 0x08,
  DATA32: 0x10,
  CODE64: 0x18,
  DATA64: 0x20,
  USER_DATA: 0x2b,
  USER_CODE: 0x33,
  TSS: 0x38,
} as const;
