// A guest's disk, read and written past the page cache: `disk DEVICE` tells on its output when each part begins and ends.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { large = 256 << 10, small = 4 << 10, space = 128 << 20, passes = 12, requests = 20000 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *name = argv[2];
  int fd = open(argv[1], O_RDWR | O_DIRECT);
  if (fd < 0) die(argv[1]);
  void *buffer;
  if (posix_memalign(&buffer, 4096, large)) return 1;
  memset(buffer, 0x5a, large);
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int random = 0; random < 2; random++) {
    for (int write = 0; write < 2; write++) {
      const char *part = write ? "write" : "read";
      int bytes = random ? small : large;
      int count = random ? requests : passes * (space / large);
      uint32_t seed = 12345;
      printf("@begin %s-%s-%s\n", name, random ? "random" : "sequential", part);
      for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        off_t at = random ? (off_t)(seed % (space / small)) * small : (off_t)(i % (space / large)) * large;
        ssize_t moved = write ? pwrite(fd, buffer, bytes, at) : pread(fd, buffer, bytes, at);
        if (moved != bytes) die(part);
      }
      if (write && fsync(fd)) die("fsync");
      printf("@end %s-%s-%s\n", name, random ? "random" : "sequential", part);
    }
  }
  return 0;
}
