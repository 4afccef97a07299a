/* Programs: a hook that is waited for, the search for the container's program, and becoming it. */
#include "executor.h"

/* Pointers to `count` strings that lie one after the other; return where the next would begin. */
static const char *point(const char **pointers, const char *strings, size count)
{
  for (size i = 0; i < count; i++) {
    pointers[i] = strings;
    strings += length_of(strings) + 1;
  }
  pointers[count] = 0;
  return strings;
}

/* Room for two vectors, each ended by NULL. Fresh pages, since there may be 200,000 arguments. */
static long open_vectors(size first, size second)
{
  return SYS(mmap, 0, (first + second + 2) * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static const char *strings_at(const struct run *run, unsigned long long strs) { return run->plan.blob + (unsigned int)strs; }

static unsigned int count_of(unsigned long long strs) { return (unsigned int)(strs >> 32); }

static void take_stdio(const struct run *run, unsigned long long stdio)
{
  unsigned long long in = stdio & 0xffff, out = stdio >> 16;
  if (in < PLAN_SLOTS) {
    SYS(lseek, run->slot[in], 0, SEEK_SET);
    SYS(dup3, run->slot[in], 0, 0);
  }
  if (out < PLAN_SLOTS) {
    SYS(dup3, run->slot[out], 1, 0);
    SYS(dup3, run->slot[out], 2, 0);
  }
}

/* In the child: fds 0-2 and nothing else go along, not even what the user preserved for the container. */
_Noreturn static void become_hook(const struct run *run, const struct plan_record *op, int report)
{
  size args = count_of(op->a[1]), vars = count_of(op->a[2]);
  long error = open_vectors(args, vars);
  const char **vectors = (const char **)error;
  if (error >= 0) {
    point(vectors, strings_at(run, op->a[1]), args);
    point(vectors + args + 1, strings_at(run, op->a[2]), vars);
    SYS(setpgid, 0, 0);
    take_stdio(run, op->a[3]);
    default_signals();
    SYS(close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
    error = SYS(execve, run->plan.blob + op->a[0], vectors, vectors + args + 1);
  }
  SYS(write, report, &error, sizeof(error));
  leave(127);
}

/* Wait for the child, at most `timeout` seconds; then its whole process group is killed. */
static long reap(struct run *run, long child, unsigned long long timeout)
{
  struct __kernel_timespec limit = {(long long)timeout, 0};
  long pidfd = SYS(pidfd_open, child, 0), ended = 1;
  struct pollfd poll = {(int)pidfd, POLLIN, 0};
  while (pidfd >= 0 && (ended = SYS(ppoll, &poll, 1, timeout ? &limit : 0, 0, 0)) < 0 && is_error(ended, EINTR))
    continue;
  close_fd(pidfd);
  if (!ended)
    SYS(kill, -child, SIGKILL);
  while (is_error(SYS(wait4, child, &run->status, 0, 0), EINTR))
    continue;
  if (!ended) {
    run->status = -1;
    return -ETIMEDOUT;
  }
  return run->status ? -ECANCELED : 0;
}

/* A hook that cannot be executed is told apart from one that failed: its errno comes through a pipe that exec closes. */
long spawn(struct run *run, const struct plan_record *op)
{
  int report[2];
  long error = SYS(pipe2, report, O_CLOEXEC), child;
  if (error < 0)
    return error;
  run->status = 0;
  child = SYS(clone, SIGCHLD);
  if (!child)
    become_hook(run, op, report[1]);
  SYS(close, report[1]);
  long got = child < 0 ? 0 : SYS(read, report[0], &error, sizeof(error));
  SYS(close, report[0]);
  if (child < 0)
    return child;
  if (got != sizeof(error))
    return reap(run, child, op->a[4]);
  reap(run, child, 0);
  run->status = 0;
  return error;
}

/* Which of two failures tells the user more: a program that is there and may not be run, or none at all. */
static long worse(long found, long error, unsigned int count)
{
  if (count == 1 || (!is_error(error, ENOENT) && !is_error(error, ENOTDIR) && !is_error(error, EISDIR)))
    return error;
  return is_error(error, EISDIR) ? -EACCES : found;
}

long find(const char *candidates, unsigned int count)
{
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
static long map_environment(int fd, const char **strings, size *count)
{
  struct stat stat;
  *count = 0;
  if (fd < 0)
    return 0;
  long error = SYS(fstat, fd, &stat);
  size length = error ? 0 : (size)stat.st_size;
  long at = length ? SYS(mmap, 0, length, PROT_READ, MAP_PRIVATE, fd, 0) : 0;
  SYS(close, fd);
  if (error || at < 0)
    return error ? error : at;
  *strings = (const char *)at;
  for (size i = 0; i < length; i++)
    *count += !(*strings)[i];
  return length && (*strings)[length - 1] ? -EINVAL : 0;
}

static long try_candidates(const char *candidate, unsigned int count, const char **vectors, size args)
{
  long found = -ENOENT;
  for (unsigned int i = 0; i < count; i++, candidate += length_of(candidate) + 1) {
    long error = SYS(execve, candidate, vectors, vectors + args + 1);
    if (is_error(error, EACCES) || (is_error(error, ENOTDIR) && count == 1))
      found = error;
    else if (!is_error(error, ENOENT) && !is_error(error, ENOTDIR))
      return error;
  }
  return found;
}

/* The conversation closes itself with success: that is how the parent learns of it. */
long execute(struct run *run, const struct plan_record *op)
{
  const char *env = "";
  size args = count_of(op->a[1]), vars;
  int fd = op->a[2] < PLAN_SLOTS ? run->slot[op->a[2]] : -1;
  long error = map_environment(fd, &env, &vars);
  if (op->a[2] < PLAN_SLOTS)
    run->slot[op->a[2]] = -1;
  if (!error)
    error = open_vectors(args, vars);
  if (error < 0)
    return error;
  const char **vectors = (const char **)error;
  point(vectors, strings_at(run, op->a[1]), args);
  point(vectors + args + 1, env, vars);
  default_signals();
  return try_candidates(strings_at(run, op->a[0]), count_of(op->a[0]), vectors, args);
}
