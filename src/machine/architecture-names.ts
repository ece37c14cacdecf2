/** The names of the architectures that a machine may have: QEMU's first, then what else people call each (Debian, the kernel). */
export const architectureNames = {
  x86_64: ['amd64', 'x86-64'],
  i386: ['i686', 'x86'],
  riscv64: ['rv64'],
  aarch64: ['arm64', 'armv8'],
  arm: ['armhf', 'armv7', 'armv7l'],
} as const satisfies Record<string, readonly string[]>;
export type ArchitectureName = keyof typeof architectureNames;
