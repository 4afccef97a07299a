/* The kernel, without a C library: system calls by their psABI, and the few shapes that the UAPI headers leave to libc.
 *
 * A call returns what the kernel returns: a negative errno, or the result. With PYRUNC_HOSTED the same sources go through
 * libc's syscall(), so that the sanitizers and fuzzers can be linked in.
 */
#ifndef PYRUNC_KERNEL_H
#define PYRUNC_KERNEL_H

#include <asm/ioctls.h>
#include <asm/socket.h>
#include <asm/stat.h>
#include <asm/statfs.h>
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/keyctl.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/uio.h>

typedef __SIZE_TYPE__ size;

#ifdef PYRUNC_HOSTED

long syscall(long number, ...);
int *__errno_location(void);

static inline long sys6(long number, long a, long b, long c, long d, long e, long f) {
  long result = syscall(number, a, b, c, d, e, f);
  return result == -1 ? -(long)*__errno_location() : result;
}

#elif defined __x86_64__

static inline long sys6(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return number;
}

#define ENTRY(function) \
  __asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall " #function "\n\thlt\n")

#elif defined __aarch64__

static inline long sys6(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}

#define ENTRY(function) \
  __asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl " #function "\n\tbrk #0\n")

#else
#error "pyrunc runs on x86-64 and aarch64"
#endif

#define SYS(...) SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_(name, a, b, c, d, e, f, ...) \
  sys6(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452 /* Linux 6.6, younger than the headers of some distributions */
#endif

/* Not in the UAPI headers: they belong to sys/socket.h, dirent.h and unistd.h. */
enum { AF_UNIX = 1, SCM_RIGHTS = 1, MSG_CTRUNC = 0x8, MSG_NOSIGNAL = 0x4000, MSG_CMSG_CLOEXEC = 0x40000000 };
enum { SOCK_CLOEXEC = O_CLOEXEC, X_OK = 1, SEEK_SET = 0, SIGNALS = 64, MNT_DETACH = 2 };

struct message {
  void *name;
  unsigned int name_length, pad;
  struct iovec *parts;
  size part_count;
  void *control;
  size control_length;
  unsigned int flags, pad2;
};

struct control {
  size length;
  int level, type;
  int fds[64];
};

#define CONTROL_LENGTH(count) (sizeof(size) + (2 + (size)(count)) * sizeof(int))

struct entry { /* of getdents64 */
  unsigned long long inode, offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

/* Hand a failure on to the caller. */
#define TRY(call) \
  for (long result_ = (call); result_ < 0;) \
    return result_

static inline int is_error(long result, int error) { return result == -error; }

_Noreturn static inline void leave(int status) {
  SYS(exit_group, status);
  __builtin_trap(); /* a filter forbids even that */
}

/* A thread on a stack of its own; it ends by exit(2). Until then *tid is not 0. */
static inline long start_thread(char *top, void (*function)(void *), void *data, int *tid) {
  long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
#ifdef __x86_64__
  long result = __NR_clone;
  register int *r10 __asm__("r10") = tid;
  __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\tmov %[data], %%rdi\n\tcall *%[function]\n\tud2\n1:"
                   : "+a"(result) : "D"(flags), "S"(top), "d"(0), "r"(r10), [function] "r"(function), [data] "r"(data)
                   : "rcx", "r11", "memory");
  return result;
#else
  register long x8 __asm__("x8") = __NR_clone, x0 __asm__("x0") = flags, x1 __asm__("x1") = (long)top;
  register long x2 __asm__("x2") = 0, x4 __asm__("x4") = (long)tid;
  __asm__ volatile("svc #0\n\tcbnz x0, 1f\n\tmov x0, %[data]\n\tblr %[function]\n\tbrk #0\n1:"
                   : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x4), [function] "r"(function), [data] "r"(data) : "memory");
  return x0;
#endif
}

static inline void close_fd(long fd) {
  if (fd >= 0)
    SYS(close, fd);
}

static inline size length_of(const char *text) {
  size n = 0;
  while (text[n])
    n++;
  return n;
}

static inline void copy(char *to, const char *from, size n) {
  for (size i = 0; i < n; i++)
    to[i] = from[i];
}

static inline int same(const char *a, const char *b) {
  while (*a && *a == *b)
    a++, b++;
  return *a == *b;
}

#endif
