/* The executor, all of it, on a kernel that a fuzzer answers for (fake_kernel.c): a libFuzzer target, or, with STANDALONE, a program
 * that goes through the same inputs each time: each file of its arguments as it is, with each call failing once with each of
 * some errnos, and with answers at random from a fixed seed.
 *
 * An input is a plan (32 bits of length, and the plan) and the kernel's answers. Whatever they are, the sanitizers find nothing, no
 * descriptor is closed twice, and an operation leaves as many open as it says: one more when it fills a slot, else none. A failure
 * is an errno.
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

enum { ERRNO_MAX = 4095 };

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
  if (result < -ERRNO_MAX || (op->code == OP_SPAWN && result > 0)) {
    dprintf(2, "operation %u (code %u) returns %ld, which is no errno\n", run->op, op->code, result);
    abort();
  }
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

struct input {
  const unsigned char *plan, *feed;
  unsigned int plan_length;
  size feed_length;
};

static int split(const unsigned char *data, size length, struct input *input) {
  if (length < 4)
    return 0;
  copy((char *)&input->plan_length, (const char *)data, 4);
  if (input->plan_length > length - 4)
    return 0;
  input->plan = data + 4;
  input->feed = input->plan + input->plan_length;
  input->feed_length = length - 4 - input->plan_length;
  return 1;
}

static char *words[] = {"pyrunc", "init", "3", 0};

/* Run the executor on a plan, after `order` has told the kernel what to do; return how many calls it made. */
static int run_executor(const struct input *input, int argc, void (*order)(void)) {
  kernel_boot(input->plan, input->plan_length, input->feed, input->feed_length, inputs_of(input->plan, input->plan_length));
  if (order)
    order();
  if (!setjmp(kernel_exit))
    executor_main(argc, words);
  kernel_shutdown();
  return kernel_calls();
}

#ifndef STANDALONE
int LLVMFuzzerTestOneInput(const unsigned char *data, size length);
int LLVMFuzzerTestOneInput(const unsigned char *data, size length) {
  struct input input;
  if (split(data, length, &input))
    run_executor(&input, 3, 0);
  return 0;
}
#else

enum { ROOM = 1 << 18, FEED = 20000, RANDOM = 1000, SHORT = 60, SHORTEST = 30, BOOT = 8 /* calls before the first operation */, LONG = 120, ERRNOS = 12, USUAL = 4 };

int open(const char *path, int flags, ...);
long read(int fd, void *to, size n);
int close(int fd);

static const short errnos[ERRNOS] = {ENOENT, EEXIST, ENOSYS, EINVAL, EAGAIN, EINTR, EPERM, EACCES, ENOTDIR, ECONNRESET,
                                     ECONNABORTED, EOPNOTSUPP};
static unsigned char feed[FEED];
static unsigned int state;
static struct { int call, error, again; } orders[3];

static void give_orders(void) {
  for (int i = 0; i < 3 && orders[i].call; i++)
    kernel_fail(orders[i].call, orders[i].error, orders[i].again);
}

static int run_failing(const struct input *input, int i, int call, int error, int again) {
  orders[i].call = call;
  orders[i].error = error;
  orders[i].again = again;
  return run_executor(input, 3, give_orders);
}

/* In a short plan each call after one that fails fails as well, alone or as all of its kind, and in a very short one a third. */
static void fail_more(const struct input *input, int i, int from, int calls) {
  for (int call = from > BOOT ? from : BOOT + 1; call <= calls; call++)
    for (int e = 0; e < USUAL; e++) {
      run_failing(input, i, call, errnos[e], 1);
      int more = run_failing(input, i, call, errnos[e], 0);
      if (i == 1 && more < SHORTEST && e < 2)
        fail_more(input, 2, call + 1, more);
      if (i == 1)
        orders[2].call = 0;
    }
}

/* Each call fails, alone and as all of its kind from there on. */
static void fail_each(const struct input *input) {
  int calls = run_failing(input, 0, 0, 0, 0), kinds = calls < LONG ? ERRNOS : 1;
  for (int call = 1; call <= calls; call++)
    for (int e = 0; e < kinds; e++) {
      if (calls < LONG)
        run_failing(input, 0, call, errnos[e], 1);
      int more = run_failing(input, 0, call, errnos[e], 0);
      if (more < SHORT && e < USUAL)
        fail_more(input, 1, call + 1, more);
      orders[1].call = 0;
    }
}

static unsigned int random(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

/* Of answers at random most are good in some rounds, so that what comes late is reached as well. */
static void answer_at_random(const struct input *seed, int rounds) {
  struct input input = *seed;
  input.feed = feed;
  input.feed_length = RANDOM;
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < RANDOM; i++)
      feed[i] = random() % 100 < (round % 2 ? 100u : (unsigned int)round % 30) ? (unsigned char)random() : 0;
    for (int i = 0; i < 2; i++) {
      orders[i].call = round % 3 ? 0 : BOOT + 1 + (i ? 1 + (int)(random() % 4) : 0);
      orders[i].error = errnos[random() % 2];
    }
    run_executor(&input, 3, give_orders);
  }
  orders[0].call = orders[1].call = 0;
}

/* The same byte for ever: a directory in a directory in a directory. */
static void answer_alike(const struct input *seed) {
  struct input input = *seed;
  input.feed = feed;
  input.feed_length = FEED;
  for (int byte = 0; byte < 256; byte++) {
    for (int i = 0; i < FEED; i++)
      feed[i] = (unsigned char)byte;
    run_executor(&input, 3, 0);
  }
}

static void start_wrongly(const struct input *input) {
  static char *const wrong[][2] = {{"x", "init"}, {"pyrunc", "x"}, {"pyrunc", "init"}};
  static char *const bases[] = {"", "x", "/", "2", "1048576", "99999999", "12a", "3"};
  for (int i = 0; i < 3; i++) {
    words[0] = wrong[i][0];
    words[1] = wrong[i][1];
    run_executor(input, i < 2 ? 3 : 2, 0);
  }
  for (unsigned int i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
    words[2] = bases[i];
    run_executor(input, 3, 0);
  }
  run_executor(input, 3, kernel_close_stdin);
}

static int number(const char *text) {
  int n = 0;
  while (*text)
    n = n * 10 + *text++ - '0';
  return n;
}

/* STANDALONE ROUNDS FILE ...; with "-1" rounds each file once, as it is. */
int main(int argc, char **argv) {
  static unsigned char data[ROOM];
  for (int i = 2; i < argc; i++) {
    struct input input;
    int fd = open(argv[i], O_RDONLY);
    long length = read(fd, data, ROOM);
    close(fd);
    if (length <= 0 || !split(data, (size)length, &input))
      return 1;
    state = (unsigned int)i;
    if (argv[1][0] == '-') {
      run_executor(&input, 3, 0);
      continue;
    }
    fail_each(&input);
    answer_at_random(&input, number(argv[1]));
    if (length < LONG * (long)sizeof(struct plan_record))
      answer_alike(&input);
    start_wrongly(&input);
  }
  return 0;
}
#endif
