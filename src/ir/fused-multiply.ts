/**
 * Whether the relaxed multiply-add (WebAssembly relaxed SIMD, f64x2.relaxed_madd) is there and rounds once: it may round the product too,
 * and does on processors without a fused instruction.
 */

/** (a, b, c) → a * b + c by f64x2.relaxed_madd on lane 0. */
const probe = Uint8Array.from([
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[1, 8, 1, 0x60, 3, 0x7c, 0x7c, 0x7c, 1, 0x7c], // type: three f64 to f64
  ...[3, 2, 1, 0],
  ...[7, 5, 1, 1, 0x66, 0, 0], // export f
  ...[10, 22, 1, 20, 0],
  ...[0x20, 0, 0xfd, 0x14, 0x20, 1, 0xfd, 0x14, 0x20, 2, 0xfd, 0x14], // local.get, f64x2.splat
  ...[0xfd, 0x87, 0x02, 0xfd, 0x21, 0, 0x0b], // f64x2.relaxed_madd, f64x2.extract_lane 0
]);

let fuses: boolean | undefined;

/** Asked once; the flags of the engine that runs WebAssembly must be set before. */
export function fusesMultiply(): boolean {
  fuses ??= findOut();
  return fuses;
}

function findOut(): boolean {
  if (!WebAssembly.validate(probe)) return false;
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(probe)).exports as {
    f: (a: number, b: number, c: number) => number;
  };
  // (1 + e)(1 - e) - 1 = -e², which is lost where the product is rounded.
  const e = 2 ** -30;
  return f(1 + e, 1 - e, -1) === -(e * e);
}
