/* One linear check of a whole plan, derived from the signatures; afterwards no operation checks its arguments again.
 *
 * The plan is sealed and was made by our own parent, so this is a seat belt, not a border.
 */
#include "executor.h"
#include "plan_text.h"

enum type { NOTHING, NUMBER, SLOT, PATH, STR, BYTES, STRS, FD, ID };

struct shape {
  unsigned char fills;
  unsigned char type[5];
};

/* A type is a word: it ends at the space before the next argument, or at the end of the line. */
static enum type type_of(const char *word) {
  static const struct { char name[6]; unsigned char type; } types[] = {
    {"slot", SLOT}, {"path", PATH}, {"str", STR}, {"bytes", BYTES}, {"strs", STRS}, {"fd", FD}, {"id", ID},
  };
  for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    size n = length_of(types[i].name), k = 0;
    while (k < n && word[k] == types[i].name[k])
      k++;
    if (k == n && (word[n] == ' ' || word[n] == '\n'))
      return (enum type)types[i].type;
  }
  return NUMBER;
}

static void learn_shapes(struct plan *plan, struct shape shapes[OP_COUNT]) {
  const char *p = plan_text;
  for (unsigned int op = 0; op < OP_COUNT; op++) {
    unsigned int n = 0;
    while (*p++ != '\t')
      continue;
    shapes[op] = (struct shape){.fills = *p == '>'};
    plan->slots[op] = 0;
    for (; *p != '\n'; p++)
      if (*p == ':' && n < 5) { /* unreached: a sixth argument, which no operation of the list has */
        shapes[op].type[n] = (unsigned char)type_of(p + 1);
        plan->slots[op] = (unsigned char)(plan->slots[op] | (shapes[op].type[n] == SLOT) << n);
        n++;
      }
    p++;
  }
}

static int has_strings(const char *p, const char *end, size count) {
  while (count && p < end)
    count -= !*p++;
  return !count;
}

/* The conversation is for questions alone: what else is written to it would be taken for a message. */
static int good_slot(unsigned long long slot) { return slot == SLOT_NONE || (slot < PLAN_SLOTS && slot != SLOT_TALK); }

static int good_arg(const struct plan *plan, enum type type, unsigned long long a) {
  unsigned int blob = plan->header->blob, low = (unsigned int)a, high = (unsigned int)(a >> 32);
  switch (type) { /* unreached: any other number, of which there is none */
  case NOTHING:
    return !a;
  case NUMBER:
    return 1;
  case SLOT:
    return good_slot(a) || a == SLOT_CWD;
  case PATH:
  case STR:
    return a < blob;
  case BYTES:
    return low <= blob && high <= blob - low;
  case STRS:
    return low <= blob && has_strings(plan->blob + low, plan->blob + blob, high);
  case FD:
    return a <= 0x7fffffff;
  case ID:
    return !high; /* 2^32 would be cut to 0, which is root */
  }
  return 0; /* unreached: for the compiler, as above */
}

/* What the signature alone does not say. */
static int good_op(const struct plan_record *op, int fills) {
  unsigned long long in = op->a[3] & 0xffff, out = op->a[3] >> 16; /* of SPAWN */
  unsigned int last = SLOT_NONE;
  switch (op->code) {
  case OP_RPC:
    if (op->a[2] >= PLAN_SLOTS || !op->a[2] != (op->out == SLOT_NONE))
      return 0;
    last = op->a[2] ? op->out + (unsigned int)op->a[2] - 1 : SLOT_NONE;
    break;
  case OP_CLOSEFROM:
    return op->out == SLOT_NONE && op->a[0] > 2;
  case OP_SPAWN:
    return op->out == SLOT_NONE && good_slot(in) && good_slot(out);
  default:
    last = op->out;
    if (fills != (op->out != SLOT_NONE))
      return 0;
  }
  return last == SLOT_NONE || (op->out > SLOT_TALK && last < PLAN_SLOTS);
}

static int good_header(const struct plan_header *header, size length) {
  return length >= sizeof(*header) && header->magic == PLAN_MAGIC && header->hash == plan_hash() && header->ops <= 0xffff &&
         header->inputs < PLAN_SLOTS - SLOT_TALK && (!header->blob || !((const char *)header)[length - 1]) &&
         length == sizeof(*header) + header->ops * sizeof(struct plan_record) + header->blob;
}

/* Return 0 and fill `plan`; else the number of the bad record, counted from 1, or -1 for a bad header. */
long plan_check(struct plan *plan, const void *data, size length) {
  struct shape shapes[OP_COUNT];
  plan->header = data;
  if (!good_header(data, length))
    return -1;
  plan->ops = (const struct plan_record *)(plan->header + 1);
  plan->blob = (const char *)(plan->ops + plan->header->ops);
  learn_shapes(plan, shapes);
  for (unsigned int i = 0; i < plan->header->ops; i++) {
    const struct plan_record *op = &plan->ops[i];
    if (op->code >= OP_COUNT || op->skip >= plan->header->ops - i || !good_op(op, shapes[op->code].fills))
      return i + 1L;
    for (unsigned int k = 0; k < 5; k++)
      if (!good_arg(plan, (enum type)shapes[op->code].type[k], op->a[k]))
        return i + 1L;
  }
  return 0;
}
