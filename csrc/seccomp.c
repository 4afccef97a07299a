/* The filter on system calls, and the listener that goes to the agent who decides for it.
 *
 * From the moment a filter is on, any system call may be forbidden, or wait for the agent that has no listener yet. So
 * the listener leaves by a courier: a thread made before the filter, which therefore has none, in the same table of
 * descriptors. The process itself makes no system call until the courier has ended; the kernel then clears `tid`. A
 * courier that fails reports that and ends the whole process. As a thread it leaves no zombie and dies with the process.
 */
#include "executor.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

struct courier {
  struct run *run;
  const char *state;
  size length;
  int agent;
  volatile int listener; /* 0 until the filter is on; negative when it could not be loaded */
};

static void deliver(void *data) {
  struct courier *courier = data;
  struct __kernel_timespec nap = {0, 20000};
  while (!courier->listener) /* unreached: no test's kernel runs two threads at once; the real one does in its own time */
    SYS(nanosleep, &nap, 0);
  if (courier->listener > 0) {
    long sent = send_fd(courier->agent, courier->state, courier->length, courier->listener);
    if (sent < 0)
      fail(courier->run, sent);
    SYS(close, courier->listener); /* the container must not answer itself */
    SYS(close, courier->agent);
  }
  for (;;)
    SYS(exit, 0);
}

static long load(const struct run *run, const struct plan_record *op) {
  struct sock_fprog program = {(unsigned short)(length_in(op->a[1]) / sizeof(struct sock_filter)),
                               (struct sock_filter *)text_at(run, op->a[1])};
  return SYS(seccomp, SECCOMP_SET_MODE_FILTER, op->a[0], &program);
}

static long load_with_agent(struct run *run, const struct plan_record *op) {
  char stack[8192] __attribute__((aligned(16)));
  volatile int tid = 1;
  struct stat stat;
  TRY(SYS(fstat, run->slot[op->a[3]], &stat));
  struct courier courier = {.run = run, .length = (size)stat.st_size, .agent = run->slot[op->a[2]]};
  long at = SYS(mmap, 0, courier.length, PROT_READ, MAP_PRIVATE, run->slot[op->a[3]], 0);
  TRY(at);
  courier.state = (const char *)at;
  SYS(close, run->slot[op->a[3]]);
  run->slot[op->a[2]] = run->slot[op->a[3]] = -1;
  TRY(start_thread(stack + sizeof(stack), deliver, &courier, (int *)&tid));
  long listener = load(run, op);
  courier.listener = listener > 0 ? (int)listener : -1;
  while (tid) /* unreached: as in `deliver` */
    continue; /* a futex, too, might be forbidden */
  return listener < 0 ? listener : 0;
}

long filter(struct run *run, const struct plan_record *op) {
  const struct plan_record *last = &run->plan.ops[run->plan.header->ops - 1];
  if (op + 1 == last && last->code == OP_EXEC)
    TRY(prepare_exec(run, last));
  return op->a[2] < PLAN_SLOTS && op->a[3] < PLAN_SLOTS ? load_with_agent(run, op) : load(run, op);
}
