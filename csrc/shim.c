/* The few things that CPython cannot do itself: clone3(2) into namespaces and a cgroup, openat2(2), and the executor.
 *
 * pyrunc_spawn lends the child our memory (CLONE_VM), stopped ourselves until it has exec'd (CLONE_VFORK): nothing of
 * Python is copied, nothing of Python runs after the clone. The child makes system calls only, on a stack of its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plan_ops.h"
#include "plan_text.h"
#include "shim.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

#define MOVED_LIMIT 128 /* descriptors for the executor: stdio, itself, the conversation, the plan, 60 inputs */

/* The executor itself, linked in: it can never be of another version than the code that encodes its plans. */
__asm__(".pushsection .rodata\n"
        ".globl pyrunc_executor_start, pyrunc_executor_end\n"
        ".hidden pyrunc_executor_start, pyrunc_executor_end\n"
        "pyrunc_executor_start:\n"
        ".incbin \"" PYRUNC_EXECUTOR "\"\n"
        "pyrunc_executor_end:\n"
        ".popsection\n");
extern const char pyrunc_executor_start[], pyrunc_executor_end[];

#define PLAN_DESCRIBE(name, signature, text) #name "\t" signature "\t" text "\n"

const char *pyrunc_ops_text(void) { return PLAN_OPS(PLAN_DESCRIBE); }

#define PLAN_NAME(name, signature, text) #name " "

const char *pyrunc_ops_names(void) { return PLAN_OPS(PLAN_NAME); }

unsigned int pyrunc_ops_hash(void) { return plan_hash(); }

const char *pyrunc_executor_bytes(unsigned long *length) {
  *length = (unsigned long)(pyrunc_executor_end - pyrunc_executor_start);
  return pyrunc_executor_start;
}

static int checked(long result) { return result < 0 ? -errno : (int)result; }

static int write_all(int fd, const char *data, unsigned long length) {
  while (length) {
    long written = write(fd, data, length);
    if (written < 0 && errno != EINTR)
      return -errno;
    if (written > 0) {
      data += written;
      length -= (unsigned long)written;
    }
  }
  return 0;
}

/* A memfd with these bytes that nobody can change any more. */
static int sealed(const char *name, unsigned int flags, const char *data, unsigned long length, unsigned int mode) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
  if (fd < 0)
    return -errno;
  int done = write_all(fd, data, length);
  if (!done)
    done = checked(fchmod(fd, mode));
  if (!done)
    done = checked(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
  if (!done)
    return fd;
  close(fd);
  return done;
}

int pyrunc_memfd_sealed(const char *name, const char *data, unsigned long length) {
  return sealed(name, 0, data, length, 0400);
}

/* A sealed copy, since the container can reach it by /proc/PID/exe (CVE-2019-5736). */
int pyrunc_executor_fd(void) {
  unsigned long length;
  const char *data = pyrunc_executor_bytes(&length);
  int fd = sealed("pyrunc", MFD_EXEC, data, length, 0555);
  return fd == -EINVAL ? sealed("pyrunc", 0, data, length, 0555) : fd; /* before Linux 6.3 every memfd can be executed */
}

struct job {
  int preserve, count, error;
  int moved[MOVED_LIMIT]; /* stdio, the executor, fds */
  char base[12];
};

/* No handler of ours may run in the child, and an ignored signal would stay ignored in the container. */
static void child_signals(void) {
  unsigned long action[4] = {0}, none = 0; /* the kernel's own shape: SIG_DFL and nothing else */
  for (int number = 1; number <= 64; number++)
    syscall(SYS_rt_sigaction, number, action, NULL, sizeof(none));
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

/* First out of the way, above every number that is asked for, then each to its place. */
static int child_fds(struct job *job) {
  int base = 3 + job->preserve, limit = base + job->count;
  for (int i = 0; i < 4 + job->count; i++)
    if ((job->moved[i] = fcntl(job->moved[i], F_DUPFD_CLOEXEC, limit)) < 0)
      return -errno;
  for (int i = 0; i < 3; i++)
    if (dup3(job->moved[i], i, 0) < 0)
      return -errno;
  for (int i = 3; i < base; i++)
    if (fcntl(i, F_GETFD)) /* not there, or close-on-exec, as all of ours are: nobody has passed it */
      return -EBADF;
  for (int i = 0; i < job->count; i++)
    if (dup3(job->moved[4 + i], base + i, 0) < 0)
      return -errno;
  return checked(syscall(SYS_close_range, limit, ~0U, CLOSE_RANGE_CLOEXEC));
}

static void child_main(void *data) {
  struct job *job = data;
  char name[] = "pyrunc", verb[] = "init";
  char *argv[] = {name, verb, job->base, NULL}, *env[] = {NULL};
  child_signals();
  job->error = child_fds(job);
  if (!job->error)
    job->error = checked(syscall(SYS_execveat, job->moved[3], "", argv, env, AT_EMPTY_PATH));
  for (;;)
    syscall(SYS_exit_group, 127);
}

/* clone3(2), whose child runs `function` on the stack in `args` and never comes back here. */
static long clone_into(struct clone_args *args, void (*function)(void *), void *data) {
#if defined __x86_64__
  long result = SYS_clone3;
  __asm__ volatile("syscall\n\t"
                   "test %%rax, %%rax\n\t"
                   "jnz 1f\n\t"
                   "mov %[data], %%rdi\n\t" /* before anything else: either operand may live in rbp */
                   "call *%[function]\n\t"
                   "hlt\n"
                   "1:"
                   : "+a"(result)
                   : "D"(args), "S"(sizeof(*args)), [function] "r"(function), [data] "r"(data)
                   : "rcx", "r11", "memory");
  return result;
#elif defined __aarch64__
  register long x8 __asm__("x8") = SYS_clone3;
  register long x0 __asm__("x0") = (long)args;
  register long x1 __asm__("x1") = sizeof(*args);
  register void (*x2)(void *) __asm__("x2") = function;
  register void *x3 __asm__("x3") = data;
  __asm__ volatile("svc #0\n\t"
                   "cbnz x0, 1f\n\t"
                   "mov x29, #0\n\t"
                   "mov x0, x3\n\t"
                   "blr x2\n\t"
                   "brk #0\n"
                   "1:"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
                   : "memory");
  return x0;
#else
#error "pyrunc runs on x86-64 and aarch64"
#endif
}

static void write_number(char *text, int number) {
  char digits[12];
  int n = 0;
  do
    digits[n++] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  while (n)
    *text++ = digits[--n];
  *text = 0;
}

/* With all signals blocked: a handler of Python's must not run in the child, which has our memory. */
static long clone_quietly(struct clone_args *args, struct job *job) {
  unsigned long all = ~0UL, before = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
  long pid = clone_into(args, child_main, job);
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
  return pid;
}

/* Start the executor. In it, stdio[i] is fd i, our own fds 3 .. 3+preserve-1 stay, and fds follow them. Return its pid and
 * set *pidfd; a failed exec is an error like any other, and leaves no process.
 */
int pyrunc_spawn(unsigned long long clone_flags, int cgroup_fd, int exe_fd, const int stdio[3], int preserve, const int *fds,
                 int count, int *pidfd) {
  char stack[16384] __attribute__((aligned(16)));
  struct job job = {.preserve = preserve, .count = count};
  struct clone_args args = {.flags = clone_flags | CLONE_VM | CLONE_VFORK | CLONE_PIDFD, .pidfd = (uintptr_t)pidfd};
  if (count < 0 || count + 4 > MOVED_LIMIT || preserve < 0 || preserve > 1 << 19)
    return -EINVAL;
  args.exit_signal = SIGCHLD;
  args.stack = (uintptr_t)stack;
  args.stack_size = sizeof(stack);
  if (cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (unsigned int)cgroup_fd;
  }
  memcpy(job.moved, stdio, 3 * sizeof(int));
  job.moved[3] = exe_fd;
  memcpy(job.moved + 4, fds, (unsigned int)count * sizeof(int));
  write_number(job.base, 3 + preserve);
  long pid = clone_quietly(&args, &job);
  if (pid < 0 || !job.error)
    return (int)pid;
  while (waitpid((int)pid, NULL, __WALL) < 0 && errno == EINTR)
    continue;
  close(*pidfd);
  return job.error;
}

/* EAGAIN: something was renamed on the way; openat2(2) says to try again. */
int pyrunc_openat2(int dir, const char *path, unsigned long long flags, unsigned int mode, unsigned long long resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  int fd = -EAGAIN;
  for (int tries = 0; tries < 128 && (fd == -EAGAIN || fd == -EINTR); tries++)
    fd = checked(syscall(SYS_openat2, dir, path, &how, sizeof(how)));
  return fd;
}

long pyrunc_fs_magic(int fd) {
  struct statfs statfs;
  return fstatfs(fd, &statfs) < 0 ? -errno : (long)(unsigned int)statfs.f_type;
}

/* landlock_create_ruleset(2): with LANDLOCK_CREATE_RULESET_VERSION in the flags, and no attr, the version of the interface. */
int pyrunc_landlock_create(const char *attr, unsigned long size, unsigned int flags) {
  return checked(syscall(SYS_landlock_create_ruleset, size ? attr : NULL, size, flags));
}

int pyrunc_landlock_add(int ruleset, int type, const char *attr) {
  return checked(syscall(SYS_landlock_add_rule, ruleset, type, attr, 0));
}

int pyrunc_bpf(int command, char *attr, unsigned int size) { return checked(syscall(SYS_bpf, command, attr, size)); }

int pyrunc_ns_type(int fd) { return checked(ioctl(fd, NS_GET_NSTYPE)); }

int pyrunc_close_range(unsigned int first, unsigned int last, unsigned int flags) {
  return checked(syscall(SYS_close_range, first, last, flags));
}

int pyrunc_prctl_subreaper(int on) { return checked(prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0)); }

/* The address of a function in a shared library, 0 where either is missing. The library stays loaded. */
unsigned long pyrunc_symbol(const char *library, const char *name) {
  void *handle = dlopen(library, RTLD_NOW);
  return handle ? (unsigned long)dlsym(handle, name) : 0;
}

/* Bit n-1 for each signal n that this process ignores. */
unsigned long pyrunc_signals_ignored(void) {
  unsigned long ignored = 0, action[4]; /* the kernel's own shape: the handler comes first */
  for (int number = 1; number <= 64; number++)
    if (!syscall(SYS_rt_sigaction, number, NULL, action, sizeof(ignored)) && action[0] == (unsigned long)(uintptr_t)SIG_IGN)
      ignored |= 1UL << (number - 1);
  return ignored;
}
