/** What a program under a debugger asks of its host, by an instruction that means nothing else: Arm's and RISC-V's semihosting. */
export interface SemihostingCall {
  readonly operation: number;
  /** A pointer to a row of words, or the argument itself. */
  readonly parameter: bigint;
  /** Bytes of a word. */
  readonly wordBytes: 4 | 8;
  /** Guest-physical address of a guest-virtual one; undefined where nothing is mapped. */
  translate(gva: bigint): bigint | undefined;
}

export interface Semihosting {
  /** Programs without privilege may call too. */
  readonly userspace: boolean;
  /** Gives the result, a signed word. */
  call(call: SemihostingCall): bigint;
}
