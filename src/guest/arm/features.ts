/** Extensions of the architecture that a CPU may have or lack, by the names of Arm's FEAT_… in small letters. */
export const featureNames = [
  'aes',
  'crc32',
  'dotprod',
  'fcma',
  'flagm',
  'flagm2',
  'fp16',
  'frintts',
  'jscvt',
  'lrcpc',
  'lrcpc2',
  'lse',
  'pmull',
  'rdm',
  'sb',
  'sha1',
  'sha256',
  'sha3',
  'sha512',
] as const;
export type Feature = (typeof featureNames)[number];
