/* The least that publishing can cost: the same system calls as WholeFiles.write(), and the os.replace
   way of doing it, in C.

   stream_floor DIRECTORY COUNT BYTES KIND     KIND: exchange or replace
   Publishes COUNT versions in turn to files 000.json .. 099.json; prints the ns of each, a line each.

   stream_floor DIRECTORY COUNT BYTES read
   Reads 100 files COUNT times: open, shared lock, read, close; prints the ns of each hundred. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 100, NAME = 4096, BYTES_MAX = 65536 };

static char target[FILES][NAME], spare[FILES][NAME], text[BYTES_MAX];

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void create(const char *path, size_t size) {
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0660);
    must(fd >= 0 && pwrite(fd, text, size, 0) == (ssize_t)size, path);
    close(fd);
}

static void exchange(int k, size_t size) {
    int fd = open(spare[k], O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    must(fd >= 0, "open");
    must(fcntl(fd, F_SETLEASE, F_WRLCK) == 0, "lease");
    must(flock(fd, LOCK_EX | LOCK_NB) == 0, "flock");
    must(pwrite(fd, text, size, 0) == (ssize_t)size, "pwrite");
    must(lseek(fd, 0, SEEK_END) == (off_t)size, "lseek");
    must(renameat2(AT_FDCWD, spare[k], AT_FDCWD, target[k], RENAME_EXCHANGE) == 0, "renameat2");
    close(fd);
}

static void replace(int k, size_t size) {
    int fd = open(spare[k], O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0660);
    must(fd >= 0 && write(fd, text, size) == (ssize_t)size, "write");
    close(fd);
    must(rename(spare[k], target[k]) == 0, "rename");
}

static void read_all(void) {
    static char page[4096];
    for (int k = 0; k < FILES; k++) {
        int fd = open(target[k], O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        must(fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0, "read");
        must(pread(fd, page, sizeof page, 0) > 0, "pread");
        close(fd);
    }
}

int main(int argc, char **argv) {
    must(argc == 5, "usage");
    long count = atol(argv[2]);
    size_t size = atol(argv[3]);
    signal(SIGIO, SIG_IGN);
    for (int k = 0; k < FILES; k++) {
        snprintf(target[k], NAME, "%s/%03d.json", argv[1], k);
        snprintf(spare[k], NAME, "%s/.spare/%03d.json", argv[1], k);
    }
    memset(text, 'x', size);
    int reading = !strcmp(argv[4], "read"), exchanging = !strcmp(argv[4], "exchange");
    for (int k = 0; k < FILES && !reading; k++) {
        create(target[k], size);
        create(spare[k], size);
    }
    for (long i = 0; i < count; i++) {
        long long began = now_ns();
        if (reading)
            read_all();
        else if (exchanging)
            exchange(i % FILES, size);
        else
            replace(i % FILES, size);
        printf("%lld\n", now_ns() - began);
    }
    return 0;
}
