/* Lets the Nth write, sync, rename or link below one folder fail. Loaded by LD_PRELOAD; told what to do by a
   file that is mapped into memory and shared with the test. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

struct control { _Atomic int armed, remaining, error, persistent, hits, calls; };

static struct control *control;
static const char *folder;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAILING_IO_CONTROL");
    folder = getenv("FAILING_IO_FOLDER");
    if (!path || !folder) return;
    int fd = open(path, O_RDWR);
    if (fd < 0) return;
    void *at = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) control = at;
}

static int fails(void) {
    control->calls++;
    int left = --control->remaining;
    if (left > 0 || (left < 0 && !control->persistent)) return 0;
    control->hits++;
    errno = control->error;
    return 1;
}

static int below(const char *path) { return !strncmp(path, folder, strlen(folder)); }

static int fd_fails(int fd) {
    if (!control || !control->armed) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path) && fails();
}

static int path_fails(const char *path) {
    return control && control->armed && below(path) && fails();
}

#define NEXT(name, ...) ({ static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name); next(__VA_ARGS__); })

ssize_t write(int fd, const void *b, size_t n) { return fd_fails(fd) ? -1 : NEXT(write, fd, b, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return fd_fails(fd) ? -1 : NEXT(pwrite, fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { return fd_fails(fd) ? -1 : NEXT(pwrite64, fd, b, n, o); }
ssize_t writev(int fd, const struct iovec *v, int n) { return fd_fails(fd) ? -1 : NEXT(writev, fd, v, n); }
int fsync(int fd) { return fd_fails(fd) ? -1 : NEXT(fsync, fd); }
int fdatasync(int fd) { return fd_fails(fd) ? -1 : NEXT(fdatasync, fd); }
int ftruncate(int fd, off_t n) { return fd_fails(fd) ? -1 : NEXT(ftruncate, fd, n); }
int ftruncate64(int fd, off64_t n) { return fd_fails(fd) ? -1 : NEXT(ftruncate64, fd, n); }
int rename(const char *a, const char *b) { return path_fails(a) ? -1 : NEXT(rename, a, b); }
int renameat(int x, const char *a, int y, const char *b) { return path_fails(a) ? -1 : NEXT(renameat, x, a, y, b); }
int link(const char *a, const char *b) { return path_fails(a) ? -1 : NEXT(link, a, b); }
int linkat(int x, const char *a, int y, const char *b, int f) { return path_fails(a) ? -1 : NEXT(linkat, x, a, y, b, f); }
