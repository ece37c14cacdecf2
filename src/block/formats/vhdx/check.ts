/** What `check` and opening look for in a block allocation table: every present block within the file and off the regions. */
import type { BlockHost } from '../../host.js';
import type { VhdxImage } from './image.js';
import { BlockState, batEntries, chunkRatio, mebibyte, overlaps, viewOf } from './layout.js';

/** Table bytes read at once. */
const pieceBytes = mebibyte;

/** Reports each error in QEMU's words and gives their number; `isFirstOnly`: one is enough. */
export async function checkTable(host: BlockHost, image: VhdxImage, isFirstOnly: boolean): Promise<number> {
  const { header, bat, metadataRegion, metadata } = image.layout;
  const fileBytes = BigInt(image.file.length);
  const blocks = Math.ceil(metadata.diskBytes / metadata.blockBytes);
  const ratio = chunkRatio(metadata);
  const total = batEntries(metadata) * 8;
  const regions = [metadataRegion, bat, { offset: header.logOffset, length: header.logBytes }];
  let errors = 0;
  const found = (sentence: string): void => {
    errors++;
    host.report('error', sentence);
  };
  for (let at = 0; at < total; at += pieceBytes) {
    const piece = new Uint8Array(Math.min(pieceBytes, total - at));
    await image.file.read(bat.offset + at, piece);
    const view = viewOf(piece);
    for (let index = 0; index < piece.length; index += 8) {
      if (errors > 0 && isFirstOnly) return errors;
      if ((view.getUint32(index, true) & 7) !== BlockState.fullyPresent) continue;
      const entry = (at + index) / 8;
      // Each chunk's last entry is for a sector bitmap.
      if (entry % (ratio + 1) === ratio) continue;
      const block = entry - Math.floor(entry / (ratio + 1));
      if (block >= blocks) continue;
      const place = view.getBigUint64(index, true) & ~0xfffffn;
      const end = place + BigInt(Math.min(metadata.blockBytes, metadata.diskBytes - block * metadata.blockBytes)) - 1n;
      const tail = `points after end of file (${fileBytes}). Image has probably been truncated.`;
      if (place > 2n ** 63n - 1n - BigInt(metadata.blockBytes)) {
        found(`VHDX BAT entry ${entry} offset overflow.`);
        if (isFirstOnly) return errors;
      }
      if (place >= fileBytes) found(`VHDX BAT entry ${entry} start offset ${place} ${tail}`);
      else if (end >= fileBytes) found(`VHDX BAT entry ${entry} end offset ${end} ${tail}`);
      else {
        const used = { offset: Number(place), length: metadata.blockBytes };
        const other = regions.find((region) => overlaps(used, region));
        if (other)
          found(
            `VHDX region ${used.offset}-${used.offset + used.length} overlaps with region ${other.offset}-${other.offset + other.length}`,
          );
      }
    }
  }
  return errors;
}
