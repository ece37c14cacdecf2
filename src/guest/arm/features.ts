/** Extensions of the architecture that a CPU may have or lack. */
export type Feature = 'fp16';
