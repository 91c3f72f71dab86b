/* Preloaded into a process under test: counts the calls that change files below one folder, and lets the n-th one kill or fail.
 *
 * The control block is a shared file, so that all processes and threads of a command count together. FAULTS_CONTROL names it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, KILL_BEFORE, KILL_AFTER, KILL_HALF, FAIL, FAIL_FROM };

struct control {
    uint64_t count; /* calls so far */
    uint64_t at;    /* the call that is hit, from 1 */
    int32_t mode;
    int32_t error;    /* errno of FAIL and FAIL_FROM */
    int32_t only;     /* 0: every call; 1: only those that open */
    char root[1024];  /* the folder, with a slash at its end */
    char log[1024];   /* gets a line for each call; empty: none */
};

static struct control *control;

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("FAULTS_CONTROL");
    int file = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0) : -1;
    if (file < 0) return;
    void *block = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    control = block == MAP_FAILED ? NULL : block;
}

static int below_root(const char *path) {
    size_t length = strlen(control->root); /* the folder itself counts too: it is synced after a rename */
    return length && strncmp(path, control->root, length - 1) == 0 && (path[length - 1] == 0 || path[length - 1] == '/');
}

static int absolute(int folder, const char *path, char *out) {
    char base[PATH_MAX] = "";
    if (path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) < 0) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        if (length < 0) return 0;
    }
    return snprintf(out, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

static int path_of(int file, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    if (length < 0) return 0;
    out[length] = 0;
    return 1;
}

static void die(void) {
    kill(0, SIGKILL); /* the whole group, as when the machine loses power */
    for (;;) pause();
}

/* Count a call; returns the mode if it is the one that is hit. */
static int hit(const char *name, const char *path, int opens) {
    if (control == NULL || control->mode < 0 || !below_root(path) || (control->only && !opens)) return OFF;
    uint64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (control->log[0]) {
        char line[PATH_MAX + 128];
        int length = snprintf(line, sizeof line, "%llu %s %s\n", (unsigned long long)number, name, path + strlen(control->root) - (strlen(path) < strlen(control->root)));
        int file = syscall(SYS_openat, AT_FDCWD, control->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (file >= 0) {
            if (syscall(SYS_write, file, line, length) < 0) { /* the log is a help, not the test */ }
            syscall(SYS_close, file);
        }
    }
    if (control->mode == FAIL_FROM ? number < control->at : number != control->at) return OFF;
    if (control->mode == KILL_BEFORE) die();
    return control->mode;
}

static int hit_file(const char *name, int file) {
    char path[PATH_MAX];
    return control != NULL && path_of(file, path) ? hit(name, path, 0) : OFF;
}

static int hit_at(const char *name, int folder, const char *path, int opens) {
    char whole[PATH_MAX];
    return control != NULL && absolute(folder, path, whole) ? hit(name, whole, opens) : OFF;
}

#define FAILS(mode) ((mode) == FAIL || (mode) == FAIL_FROM)
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define AROUND(type, check, call)                     \
    int mode = check;                                 \
    if (FAILS(mode)) { errno = control->error; return -1; } \
    type result = call;                               \
    if (mode != OFF) die();                           \
    return result;

ssize_t write(int file, const void *bytes, size_t count) {
    static __typeof__(&write) next;
    if (!next) next = NEXT(write);
    int mode = hit_file("write", file);
    if (FAILS(mode)) { errno = control->error; return -1; }
    if (mode == KILL_HALF) next(file, bytes, count / 2);
    else if (mode != OFF) next(file, bytes, count);
    if (mode != OFF) die();
    return next(file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    static __typeof__(&pwrite64) next;
    if (!next) next = NEXT(pwrite64);
    int mode = hit_file("pwrite", file);
    if (FAILS(mode)) { errno = control->error; return -1; }
    if (mode == KILL_HALF) next(file, bytes, count / 2, at);
    else if (mode != OFF) next(file, bytes, count, at);
    if (mode != OFF) die();
    return next(file, bytes, count, at);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }

ssize_t writev(int file, const struct iovec *parts, int count) { AROUND(ssize_t, hit_file("writev", file), NEXT(writev)(file, parts, count)) }
ssize_t sendfile64(int out, int in, off64_t *at, size_t count) { AROUND(ssize_t, hit_file("sendfile", out), NEXT(sendfile64)(out, in, at, count)) }
ssize_t sendfile(int out, int in, off_t *at, size_t count) { return sendfile64(out, in, (off64_t *)at, count); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
    AROUND(ssize_t, hit_file("copy_file_range", out), NEXT(copy_file_range)(in, from, out, to, count, flags))
}
int fsync(int file) { AROUND(int, hit_file("fsync", file), NEXT(fsync)(file)) }
int fdatasync(int file) { AROUND(int, hit_file("fdatasync", file), NEXT(fdatasync)(file)) }
int ftruncate64(int file, off64_t size) { AROUND(int, hit_file("ftruncate", file), NEXT(ftruncate64)(file, size)) }
int ftruncate(int file, off_t size) { return ftruncate64(file, size); }
int unlink(const char *path) { AROUND(int, hit_at("unlink", AT_FDCWD, path, 0), NEXT(unlink)(path)) }
int unlinkat(int folder, const char *path, int flags) { AROUND(int, hit_at("unlink", folder, path, 0), NEXT(unlinkat)(folder, path, flags)) }
int rmdir(const char *path) { AROUND(int, hit_at("rmdir", AT_FDCWD, path, 0), NEXT(rmdir)(path)) }
int mkdir(const char *path, mode_t rights) { AROUND(int, hit_at("mkdir", AT_FDCWD, path, 0), NEXT(mkdir)(path, rights)) }
int mkdirat(int folder, const char *path, mode_t rights) { AROUND(int, hit_at("mkdir", folder, path, 0), NEXT(mkdirat)(folder, path, rights)) }
int link(const char *from, const char *to) { AROUND(int, hit_at("link", AT_FDCWD, to, 0), NEXT(link)(from, to)) }
int linkat(int a, const char *from, int b, const char *to, int flags) { AROUND(int, hit_at("link", b, to, 0), NEXT(linkat)(a, from, b, to, flags)) }
int rename(const char *from, const char *to) { AROUND(int, hit_at("rename", AT_FDCWD, to, 0), NEXT(rename)(from, to)) }
int renameat(int a, const char *from, int b, const char *to) { AROUND(int, hit_at("rename", b, to, 0), NEXT(renameat)(a, from, b, to)) }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    AROUND(int, hit_at("rename", b, to, 0), NEXT(renameat2)(a, from, b, to, flags))
}

/* Opening counts where it can change something; with `only`, where it takes a descriptor. */
static int opens(const char *name, int folder, const char *path, int flags) {
    if (control == NULL) return OFF;
    int changes = flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR);
    return changes || control->only ? hit_at(name, folder, path, 1) : OFF;
}
#define RIGHTS                                    \
    mode_t rights = 0;                            \
    if (flags & (O_CREAT | __O_TMPFILE)) {        \
        va_list list;                             \
        va_start(list, flags);                    \
        rights = va_arg(list, mode_t);            \
        va_end(list);                             \
    }
int open64(const char *path, int flags, ...) { RIGHTS AROUND(int, opens("open", AT_FDCWD, path, flags), NEXT(open64)(path, flags, rights)) }
int open(const char *path, int flags, ...) { RIGHTS AROUND(int, opens("open", AT_FDCWD, path, flags), NEXT(open)(path, flags, rights)) }
int openat64(int folder, const char *path, int flags, ...) {
    RIGHTS AROUND(int, opens("open", folder, path, flags), NEXT(openat64)(folder, path, flags, rights))
}
int openat(int folder, const char *path, int flags, ...) {
    RIGHTS AROUND(int, opens("open", folder, path, flags), NEXT(openat)(folder, path, flags, rights))
}
