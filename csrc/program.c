/* Programs: a hook that is waited for, the search for the container's program, and becoming it. */
#include "executor.h"

/* Pointers to `count` strings that lie one after the other, and NULL. */
static const char **point(const char **pointers, const char *strings, size count) {
  for (size i = 0; i < count; i++) {
    *pointers++ = strings;
    strings += length_of(strings) + 1;
  }
  *pointers++ = 0;
  return pointers;
}

/* argv, then envp, in fresh pages, since there may be 200,000 arguments. Return the address of argv. */
static long vectors(const char *args, size count, const char *env, size variables, const char ***envp) {
  size room = (count + variables + 2) * sizeof(char *);
  long at = SYS(mmap, 0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TRY(at);
  *envp = point((const char **)at, args, count);
  point(*envp, env, variables);
  return at;
}

/* In the child: fds 0-2 and nothing else go along, not even what the user preserved for the container. */
static long become_hook(const struct run *run, const struct plan_record *op) {
  unsigned long long in = op->a[3] & 0xffff, out = op->a[3] >> 16;
  const char **envp;
  long argv = vectors(text_at(run, op->a[1]), length_in(op->a[1]), text_at(run, op->a[2]), length_in(op->a[2]), &envp);
  TRY(argv);
  SYS(setpgid, 0, 0);
  if (in < PLAN_SLOTS) {
    SYS(lseek, run->slot[in], 0, SEEK_SET);
    TRY(SYS(dup3, run->slot[in], 0, 0));
  }
  for (int fd = 1; out < PLAN_SLOTS && fd < 3; fd++)
    TRY(SYS(dup3, run->slot[out], fd, 0));
  default_signals();
  SYS(close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
  return SYS(execve, text_at(run, op->a[0]), argv, envp);
}

/* Wait for the child, at most `timeout` seconds; then its whole process group is killed. */
static long reap(struct run *run, long child, unsigned long long timeout) {
  struct __kernel_timespec limit = {(long long)timeout, 0};
  long pidfd = SYS(pidfd_open, child, 0), ended = pidfd;
  struct pollfd poll = {(int)pidfd, POLLIN, 0};
  while (pidfd >= 0 && is_error(ended = SYS(ppoll, &poll, 1, timeout ? &limit : 0, 0, 0), EINTR))
    continue;
  close_fd(pidfd);
  if (!ended)
    SYS(kill, -child, SIGKILL);
  while (is_error(SYS(wait4, child, &run->status, 0, 0), EINTR))
    continue;
  if (!ended)
    run->status = -1;
  return ended ? run->status ? -ECANCELED : 0 : -ETIMEDOUT;
}

/* A hook that cannot be executed is told apart from one that failed: its errno comes through a pipe that exec closes. */
long spawn(struct run *run, const struct plan_record *op) {
  int report[2];
  long error = 0;
  TRY(SYS(pipe2, report, O_CLOEXEC));
  long child = SYS(clone, SIGCHLD);
  if (!child) {
    error = become_hook(run, op);
    SYS(write, report[1], &error, sizeof(error));
    leave(127);
  }
  SYS(close, report[1]);
  long got = child < 0 ? child : SYS(read, report[0], &error, sizeof(error));
  SYS(close, report[0]);
  TRY(child);
  long done = reap(run, child, got ? 0 : op->a[4]);
  if (got)
    run->status = 0;
  return !got ? done : got == sizeof(error) && (size)error >= (size)-4095 /* an errno */ ? error : -EPROTO;
}

/* Which of two failures tells the user more: a program that is there and may not be run, or none at all. */
static long worse(long found, long error, unsigned int count) {
  if (count == 1 || (!is_error(error, ENOENT) && !is_error(error, ENOTDIR) && !is_error(error, EISDIR)))
    return error;
  return is_error(error, EISDIR) ? -EACCES : found;
}

long find(const char *candidates, unsigned int count) {
  long found = -ENOENT;
  for (unsigned int i = 0; i < count; i++, candidates += length_of(candidates) + 1) {
    struct stat stat;
    long error = SYS(newfstatat, AT_FDCWD, candidates, &stat, 0);
    if (!error && S_ISDIR(stat.st_mode))
      error = -EISDIR;
    if (!error)
      error = SYS(faccessat2, AT_FDCWD, candidates, X_OK, AT_EACCESS);
    if (!error)
      return 0;
    found = worse(found, error, count);
  }
  return found;
}

/* Map the file of the environment, count its strings. The descriptor is closed at once: the program must not see it. */
static long map_environment(int *slot, const char **strings, size *count) {
  struct stat stat;
  TRY(SYS(fstat, *slot, &stat));
  size length = (size)stat.st_size;
  long at = length ? SYS(mmap, 0, length, PROT_READ, MAP_PRIVATE, *slot, 0) : 0;
  SYS(close, *slot);
  *slot = -1;
  TRY(at);
  *strings = (const char *)at;
  for (size i = 0; i < length; i++)
    *count += !(*strings)[i];
  return length && (*strings)[length - 1] ? -EINVAL : 0;
}

/* What EXEC needs but the call itself: a SECCOMP just before it does this while everything is still allowed. */
long prepare_exec(struct run *run, const struct plan_record *op) {
  const char *env = "";
  size variables = 0;
  if (op->a[2] < PLAN_SLOTS)
    TRY(map_environment(&run->slot[op->a[2]], &env, &variables));
  long argv = vectors(text_at(run, op->a[1]), length_in(op->a[1]), env, variables, &run->envp);
  TRY(argv);
  run->argv = (const char **)argv;
  return default_signals();
}

/* The conversation closes itself with success: that is how the parent learns of it. */
long execute(struct run *run, const struct plan_record *op) {
  const char *candidate = text_at(run, op->a[0]);
  long found = -ENOENT;
  if (!run->argv)
    TRY(prepare_exec(run, op));
  for (unsigned int i = length_in(op->a[0]); i--; candidate += length_of(candidate) + 1) {
    long error = SYS(execve, candidate, run->argv, run->envp);
    if (!is_error(error, ENOENT) && !is_error(error, ENOTDIR) && !is_error(error, EACCES))
      return error;
    found = is_error(error, EACCES) || length_in(op->a[0]) == 1 ? error : found;
  }
  return found;
}
