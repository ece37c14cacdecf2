/** The process as commands see it. */
export interface ProcessIo {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Begins every message: the name by which the program was called. */
  readonly toolName: string;
  /** Writes to standard output at once, without the stream, whose modules take some milliseconds to load. Absent: there is only the stream. */
  readonly out?: ((text: string | Uint8Array) => void) | undefined;
  /** Messages begin with the time. */
  readonly stamps?: boolean | undefined;
}

/** Writes a text and waits until it is out; a reader that has gone away is no error. */
export function print(stream: NodeJS.WritableStream, text: string): Promise<void> {
  return new Promise((resolve) => {
    stream.write(text, () => resolve());
  });
}

/** One sentence on standard error. */
export async function complain(io: ProcessIo, sentence: string): Promise<void> {
  // Messages may quote what a guest or a file said: nothing of it is to reach the terminal as a command.
  const stamp = io.stamps ? `${new Date().toISOString()} ` : '';
  await print(io.stderr, `${stamp}${io.toolName}: ${sentence.replace(/[\x00-\x1f\x7f]+/g, ' ').trim()}\n`);
}
