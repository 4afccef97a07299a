/* The executor: runs a plan, operation by operation, and becomes the container's program by the last of them.
 *
 * Started as {"pyrunc", "init", BASE}: fds 0-2 are stdio, 3 to BASE-1 the user's, BASE the conversation, BASE+1 the
 * sealed plan, BASE+2 and up its inputs. Anything else is closed already. A container can find and start this program
 * through /proc/PID/exe; without such descriptors it leaves at once, with them it could do nothing that its caller cannot.
 */
#include "executor.h"
#include "guard.h"

enum { BASE_LIMIT = 1 << 20, SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* One sendto(2) and nothing else: a seccomp filter may be in force by now. A parent that has left is no error here. */
void tell(struct run *run, unsigned int kind, int value, unsigned long long ns) {
  struct talk_message message = {.kind = kind, .op = run->op, .value = value, .status = run->status, .ns = ns};
  SYS(sendto, run->slot[SLOT_TALK], &message, sizeof(message), MSG_NOSIGNAL, 0, 0);
}

_Noreturn void fail(struct run *run, long error) {
  tell(run, TALK_ERROR, (int)-error, 0);
  leave(1);
}

static void trace(struct run *run) {
  struct __kernel_timespec now = {0};
  if (!(run->plan.header->flags & PLAN_TRACE))
    return;
  SYS(clock_gettime, 1 /* CLOCK_MONOTONIC */, &now);
  tell(run, TALK_TRACE, 0, (unsigned long long)now.tv_sec * 1000000000u + (unsigned long long)now.tv_nsec);
}

/* Ignored and blocked signals survive execve(2), and what started us may have had some. */
int default_signals(void) {
  unsigned long action[4] = {0}; /* SIG_DFL, no flags, no restorer, no mask */
  unsigned long none = 0;
  for (int signal = 1; signal <= SIGNALS; signal++)
    if (signal != SIGKILL && signal != SIGSTOP)
      SYS(rt_sigaction, signal, action, 0, sizeof(none));
  return (int)SYS(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
}

static int tolerated(const struct plan_record *op, long error) {
  for (unsigned int i = 0; i < 3; i++)
    if (op->tolerate[i] && op->tolerate[i] == -error)
      return 1;
  return 0;
}

static void fill(struct run *run, unsigned int slot, long fd) {
  close_fd(run->slot[slot]);
  run->slot[slot] = (int)fd;
}

static int uses_empty_slot(const struct run *run, const struct plan_record *op) {
  for (unsigned int k = 0; op->code != OP_CLOSE && !run->argv && k < 5; k++)
    if (run->plan.slots[op->code] >> k & 1 && op->a[k] < PLAN_SLOTS && run->slot[op->a[k]] < 0)
      return 1;
  return 0;
}

static void run_plan(struct run *run) {
  for (; run->op < run->plan.header->ops; run->op++) {
    const struct plan_record *op = &run->plan.ops[run->op];
    long result = uses_empty_slot(run, op) ? -EBADF : run_op(run, op);
    if (result >= 0 && op->out != SLOT_NONE && op->code != OP_RPC)
      fill(run, op->out, result);
    if (result < 0 && !tolerated(op, result))
      fail(run, result);
    trace(run);
    if (result < 0) {
      tell(run, TALK_SKIPPED, (int)-result, 0);
      run->op += op->skip;
    }
  }
}

/* Map the sealed plan. It cannot change any more: the checks hold for as long as it is used. */
static const void *map_plan(int fd, size *length) {
  struct stat stat;
  long seals = SYS(fcntl, fd, F_GET_SEALS);
  if (seals < 0 || (seals & SEALS) != SEALS || SYS(fstat, fd, &stat) < 0 || !stat.st_size)
    return 0;
  *length = (size)stat.st_size;
  long at = SYS(mmap, 0, *length, PROT_READ, MAP_PRIVATE, fd, 0);
  SYS(close, fd);
  return at < 0 ? 0 : (const void *)at;
}

static int parse_base(char *const *argv, long argc) {
  int base = 0;
  if (argc != 3 || !same(argv[0], "pyrunc") || !same(argv[1], "init"))
    return -1;
  for (const char *p = argv[2]; *p; p++) {
    if (*p < '0' || *p > '9' || base > BASE_LIMIT)
      return -1;
    base = base * 10 + (*p - '0');
  }
  return base > 2 && base < BASE_LIMIT ? base : -1;
}

/* A descriptor below 3 that is not there would be filled by the next open, and be the program's (CVE-2024-21626's kin). */
static int ensure_stdio(void) {
  for (int fd = 0; fd < 3; fd++)
    if (SYS(fcntl, fd, F_GETFD) < 0 && SYS(openat, AT_FDCWD, "/dev/null", O_RDWR) != fd)
      return -1;
  return 0;
}

static void give_slots(struct run *run, int base) {
  for (int slot = 0; slot < PLAN_SLOTS; slot++)
    run->slot[slot] = slot < SLOT_TALK ? slot : -1;
  run->slot[SLOT_TALK] = base;
}

static int start(long argc, char *const *argv) {
  struct run run = {0};
  size length = 0;
  int base = parse_base(argv, argc);
  if (base < 0 || ensure_stdio() || SYS(close_range, base, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
    return 1;
  give_slots(&run, base);
  const void *data = map_plan(base + 1, &length);
  if (!data)
    return 1;
  long bad = plan_check(&run.plan, data, length);
  if (bad) {
    run.op = bad > 0 ? (unsigned int)bad - 1 : 0;
    fail(&run, -EBADMSG);
  }
  for (unsigned int i = 0; i < run.plan.header->inputs; i++)
    run.slot[SLOT_TALK + 1 + i] = base + 2 + (int)i;
  run_plan(&run);
  return 0;
}

#ifdef PYRUNC_HOSTED
int main(int argc, char **argv) {
  leave(start(argc, argv));
}
#else
UNGUARDED __attribute__((used)) _Noreturn void enter(const long *stack) {
  GUARD(stack);
  leave(start(stack[0], (char *const *)(stack + 1)));
}
ENTRY(enter);
#endif
