/** What this system calls its source of random numbers: both names are one source, from which Node's own come too. */
export const randomSources = ['/dev/urandom', '/dev/random'] as const;
