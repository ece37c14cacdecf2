/** Whether a program can be given other names by symbolic links: not on Windows, where a script does it. */
export const makesLinks = process.platform !== 'win32';
