/* The plan checker alone, on anything: standing for itself (records of a 32-bit length and that many bytes on stdin, a line
 * with the verdict for each on stdout), or as a libFuzzer target:
 *
 *   clang -std=gnu11 -DPYRUNC_HOSTED -DLIBFUZZER -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc \
 *     csrc/check.c tests/executor/fuzz_plan.c -o build/fuzz-plan && build/fuzz-plan -max_total_time=60
 *
 * What the checker lets pass is used as the operations would use it, so that the sanitizers see whether it was right to.
 */
#include "executor.h"
#include "plan_text.h"

void *malloc(size n);
void free(void *p);
int printf(const char *format, ...);

static volatile unsigned long touched;

static void touch(const char *p, size n) {
  for (size i = 0; i < n; i++)
    touched += (unsigned char)p[i];
}

static void touch_arg(const struct plan *plan, const char *type, unsigned long long a) {
  const char *at = plan->blob + (unsigned int)a;
  unsigned int count = (unsigned int)(a >> 32);
  if (type[0] == 'p' || (type[0] == 's' && type[1] == 't' && type[3] != 's'))
    touch(at, length_of(at) + 1);
  else if (type[0] == 'b')
    touch(at, count);
  else if (type[0] == 's' && type[1] == 't')
    for (unsigned int i = 0; i < count; i++) {
      touch(at, length_of(at) + 1);
      at += length_of(at) + 1;
    }
}

/* The types of an operation's arguments, read a second time, by other code than the checker's. */
static void touch_record(const struct plan *plan, const struct plan_record *op) {
  const char *p = plan_text;
  unsigned int n = 0, slots[PLAN_SLOTS] = {0};
  for (unsigned int line = 0; line < op->code; line++)
    while (*p++ != '\n')
      continue;
  for (; *p != '\n'; p++)
    if (*p == ':') {
      if (p[1] == 's' && p[2] == 'l' && op->a[n] < SLOT_CWD)
        touched += slots[op->a[n]];
      else if (n < 5 && !(p[1] == 'p' && p[2] != 'a'))
        touch_arg(plan, p + 1, op->a[n]);
      n++;
    }
  if (op->out != SLOT_NONE)
    touched += slots[op->out + (op->code == OP_RPC ? op->a[2] - 1 : 0)];
}

static long judge(const unsigned char *data, size length) {
  struct plan plan;
  unsigned char *exact = malloc(length ? length : 1);
  for (size i = 0; i < length; i++)
    exact[i] = data[i];
  long verdict = plan_check(&plan, exact, length);
  for (unsigned int i = 0; !verdict && i < plan.header->ops; i++) {
    touch_record(&plan, &plan.ops[i]);
    touched += plan.ops[i + plan.ops[i].skip].code;
  }
  free(exact);
  return verdict;
}

#ifdef LIBFUZZER
int LLVMFuzzerTestOneInput(const unsigned char *data, size length) {
  judge(data, length);
  return 0;
}
#else
static int read_all(void *to, size n) {
  for (long got = 0; n; n -= (size)got, to = (char *)to + got)
    if ((got = SYS(read, 0, to, n)) <= 0)
      return 0;
  return 1;
}

int main(void) {
  for (unsigned int length; read_all(&length, sizeof(length));) {
    unsigned char *data = malloc(length + 1u);
    if (!read_all(data, length))
      return 1;
    printf("%ld\n", judge(data, length));
    free(data);
  }
  return 0;
}
#endif
