/* Writes down, in their order, what processes change below one folder and what they sync, so that a test can
   make the disk as it was when the power went. Loaded by LD_PRELOAD; the log is one file for all processes.

   A record: operation, monotonic time, inode, offset, lengths of two texts, the texts. A sync has two records,
   where it began and where it ended: what is written meanwhile need not be on disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name, ...) ({ static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name); next(__VA_ARGS__); })

struct __attribute__((packed)) record { uint8_t operation; uint64_t time, inode; int64_t offset; uint32_t first, second; };

static const char *folder;
static int out = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("RECORDED_IO_LOG");
    folder = getenv("RECORDED_IO_FOLDER");
    if (path && folder) out = NEXT(open64, path, O_WRONLY | O_APPEND | O_CLOEXEC);
}

static void lock(void) { pthread_mutex_lock(&mutex); flock(out, LOCK_EX); }
static void unlock(void) { int kept = errno; flock(out, LOCK_UN); pthread_mutex_unlock(&mutex); errno = kept; }

static void note(char operation, uint64_t inode, int64_t offset, const void *first, size_t n, const void *second, size_t m) {
    int kept = errno;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct record head = {operation, now.tv_sec * 1000000000ull + now.tv_nsec, inode, offset, n, m};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)first, n}, {(void *)second, m}};
    if (NEXT(writev, out, parts, 3) != (ssize_t)(sizeof head + n + m)) abort();
    errno = kept;
}

/* `path` below the folder as an absolute one, or 0. */
static const char *absolute(int at, const char *path, char *whole) {
    if (out < 0) return 0;
    if (path[0] == '/') snprintf(whole, PATH_MAX, "%s", path);
    else {
        char link[64], base[PATH_MAX];
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0) return 0;
        base[n] = 0;
        if (snprintf(whole, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    return strncmp(whole, folder, strlen(folder)) ? 0 : whole;
}

/* Whether `fd` is a file or folder below the folder. */
static int ours(int fd, struct stat *about) {
    if (out < 0 || fstat(fd, about) || !(S_ISREG(about->st_mode) || S_ISDIR(about->st_mode))) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return !strncmp(path, folder, strlen(folder));
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    struct stat about;
    if (!(flags & (O_CREAT | O_TRUNC)) || !absolute(at, path, whole)) return NEXT(openat64, at, path, flags, mode);
    lock();
    int existed = !fstatat(at, path, &about, AT_SYMLINK_NOFOLLOW);
    int fd = NEXT(openat64, at, path, flags, mode);
    if (fd >= 0 && !fstat(fd, &about)) {
        if (!existed) note('c', about.st_ino, 0, whole, strlen(whole), "", 0);
        else if (flags & O_TRUNC) note('t', about.st_ino, 0, "", 0, "", 0);
    }
    unlock();
    return fd;
}

#define MODE ({ mode_t mode = 0; if (flags & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } mode; })
int open(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE); }
int open64(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE); }
int openat(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE); }
int openat64(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE); }

static int64_t place(int fd, const struct stat *about) {
    return fcntl(fd, F_GETFL) & O_APPEND ? about->st_size : lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t n) {
    struct stat about;
    if (!ours(fd, &about)) return NEXT(write, fd, data, n);
    lock();
    fstat(fd, &about);
    int64_t at = place(fd, &about);
    ssize_t done = NEXT(write, fd, data, n);
    if (done > 0) note('w', about.st_ino, at, "", 0, data, done);
    unlock();
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    struct stat about;
    if (!ours(fd, &about)) return NEXT(pwrite64, fd, data, n, at);
    lock();
    ssize_t done = NEXT(pwrite64, fd, data, n, at);
    if (done > 0) note('w', about.st_ino, at, "", 0, data, done);
    unlock();
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct stat about;
    if (!ours(fd, &about)) return NEXT(writev, fd, parts, count);
    /* One part at a time: a short count is an answer as well. */
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return write(fd, parts[i].iov_base, parts[i].iov_len);
    return 0;
}

int ftruncate64(int fd, off64_t n) {
    struct stat about;
    if (!ours(fd, &about)) return NEXT(ftruncate64, fd, n);
    lock();
    int failed = NEXT(ftruncate64, fd, n);
    if (!failed) note('t', about.st_ino, n, "", 0, "", 0);
    unlock();
    return failed;
}
int ftruncate(int fd, off_t n) { return ftruncate64(fd, n); }

static int synced(int fd, int data_only) {
    struct stat about;
    int noted = ours(fd, &about);
    if (noted) { lock(); note('b', about.st_ino, fd, "", 0, "", 0); unlock(); }
    int failed = data_only ? NEXT(fdatasync, fd) : NEXT(fsync, fd);
    if (noted && !failed) { lock(); note('s', about.st_ino, fd, "", 0, "", 0); unlock(); }
    return failed;
}
int fsync(int fd) { return synced(fd, 0); }
int fdatasync(int fd) { return synced(fd, 1); }

static int made(int at, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    struct stat about;
    if (!absolute(at, path, whole)) return NEXT(mkdirat, at, path, mode);
    lock();
    int failed = NEXT(mkdirat, at, path, mode);
    if (!failed && !fstatat(at, path, &about, 0)) note('m', about.st_ino, 0, whole, strlen(whole), "", 0);
    unlock();
    return failed;
}
int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return made(at, path, mode); }

static int removed(int at, const char *path, int flags) {
    char whole[PATH_MAX];
    if (!absolute(at, path, whole)) return NEXT(unlinkat, at, path, flags);
    lock();
    int failed = NEXT(unlinkat, at, path, flags);
    if (!failed) note('u', 0, 0, whole, strlen(whole), "", 0);
    unlock();
    return failed;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }

int renameat(int from, const char *a, int to, const char *b) {
    char first[PATH_MAX], second[PATH_MAX];
    if (!absolute(from, a, first) || !absolute(to, b, second)) return NEXT(renameat, from, a, to, b);
    lock();
    int failed = NEXT(renameat, from, a, to, b);
    if (!failed) note('r', 0, 0, first, strlen(first), second, strlen(second));
    unlock();
    return failed;
}
int rename(const char *a, const char *b) { return renameat(AT_FDCWD, a, AT_FDCWD, b); }

int linkat(int from, const char *a, int to, const char *b, int flags) {
    char first[PATH_MAX], second[PATH_MAX];
    if (!absolute(from, a, first) || !absolute(to, b, second)) return NEXT(linkat, from, a, to, b, flags);
    lock();
    int failed = NEXT(linkat, from, a, to, b, flags);
    if (!failed) note('l', 0, 0, first, strlen(first), second, strlen(second));
    unlock();
    return failed;
}
int link(const char *a, const char *b) { return linkat(AT_FDCWD, a, AT_FDCWD, b, 0); }
