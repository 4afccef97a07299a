/* The executor, all of it, on a kernel that a fuzzer answers for (fake_kernel.c): a libFuzzer target.
 *
 * An input is a plan (32 bits of length, and the plan) and the kernel's answers. Whatever they are, the sanitizers find nothing, no
 * descriptor is closed twice, and an operation leaves as many open as it says: one more when it fills a slot, else none.
 */
#include "fake_kernel.h"

#include <setjmp.h>

#undef syscall
#undef start_thread
#undef run_op

int executor_main(int argc, char **argv);
int dprintf(int fd, const char *format, ...);
_Noreturn void abort(void);
void *malloc(size n);
void free(void *p);
extern jmp_buf kernel_exit;

/* What an operation does to the number of descriptors, where that is certain. */
static int changes(const struct plan_record *op, long result) {
  switch (op->code) {
  case OP_CLOSE: case OP_CLOSEFROM: case OP_DUP2: case OP_RPC: case OP_WAIT: case OP_SECCOMP: case OP_EXEC:
    return -1;
  default:
    return result >= 0 && op->out != SLOT_NONE;
  }
}

long checked_run_op(struct run *run, const struct plan_record *op) {
  int before = kernel_open_count();
  long result = run_op(run, op);
  int wanted = changes(op, result), got = kernel_open_count() - before;
  if (wanted >= 0 && got != wanted) {
    dprintf(2, "operation %u (code %u) returns %ld and leaves %d descriptors more\n", run->op, op->code, result, got);
    abort();
  }
  return result;
}

static int inputs_of(const unsigned char *plan, size length) {
  struct plan_header header;
  if (length < sizeof(header))
    return 0;
  copy((char *)&header, (const char *)plan, sizeof(header));
  return header.inputs < PLAN_SLOTS ? (int)header.inputs : 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size length);
int LLVMFuzzerTestOneInput(const unsigned char *data, size length) {
  static char name[] = "pyrunc", verb[] = "init", base[] = "3";
  char *argv[] = {name, verb, base, 0};
  unsigned int plan_length = 0;
  if (length < 4)
    return 0;
  copy((char *)&plan_length, (const char *)data, 4);
  if (plan_length > length - 4)
    return 0;
  kernel_boot(data + 4, plan_length, data + 4 + plan_length, length - 4 - plan_length, inputs_of(data + 4, plan_length));
  if (!setjmp(kernel_exit))
    executor_main(3, argv);
  kernel_shutdown();
  return 0;
}
