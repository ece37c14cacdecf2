/** A person's own files in fw_cfg, which firmware and guests find by their names. */
import { VringError } from '../base/index.js';
import { type FwCfg, isFwCfgName } from '../hw/fw-cfg/index.js';

export interface FirmwareFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A person's own files. Throws VringError `fw-cfg`. */
export function addFiles(fwCfg: FwCfg, files: readonly FirmwareFile[]): void {
  for (const { name, bytes } of files) {
    if (!isFwCfgName(name))
      throw new VringError('fw-cfg', `fw_cfg: '${name}' is no name: it has 1 to 55 printable ASCII characters.`);
    if (fwCfg.file(name)) throw new VringError('fw-cfg', `fw_cfg: there is a file '${name}' already.`);
    fwCfg.setFile(name, bytes);
  }
}
