/** Devices that have a boot index, by firmware's paths (Open Firmware device trees, IEEE 1275, as QEMU makes them). */

interface Bootable {
  readonly index: number;
  readonly path: string;
  readonly owner: object;
}

export class BootOrder {
  #devices: Bootable[] = [];

  /** First choice first. */
  get paths(): readonly string[] {
    return this.#devices.toSorted((a, b) => a.index - b.index).map(({ path }) => path);
  }

  /** `owner`: with whom it goes. Without an index it is not among the choices. */
  add(index: number | undefined, path: string, owner: object): void {
    if (index !== undefined) this.#devices.push({ index, path, owner });
  }

  removeOf(owner: object): void {
    this.#devices = this.#devices.filter((each) => each.owner !== owner);
  }

  remove(path: string): void {
    this.#devices = this.#devices.filter((each) => each.path !== path);
  }
}
