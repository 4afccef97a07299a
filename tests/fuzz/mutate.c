/* How libFuzzer changes plans: mostly so that the checker has no reason to refuse them at once. Magic, hash and lengths stay
 * right; records are changed in a field, doubled, dropped and swapped; the blob and the answers of the kernel as libFuzzer likes.
 */
#include "kernel.h"
#include "plan_text.h"

size LLVMFuzzerMutate(unsigned char *data, size length, size room);
void *memmove(void *to, const void *from, size n);
void *memcpy(void *restrict to, const void *restrict from, size n);

#ifdef WITH_ANSWERS
enum { PREFIX = 4 };
#else
enum { PREFIX = 0 };
#endif

static unsigned int state;

static unsigned int pick(unsigned int n) {
  state = state * 1103515245u + 12345u;
  return n ? (state >> 8) % n : 0;
}

static void change_field(unsigned char *record) {
  static const unsigned long long values[] = {0, 1, 2, 3, 4, 5, 8, 63, 64, SLOT_CWD, SLOT_NONE, 0x7fffffff, 0x80000000, 0xfffffffe,
                                              0xffffffff, 1ull << 32, 5ull << 32, ~0ull};
  struct plan_record r;
  memcpy(&r, record, sizeof(r));
  unsigned long long value = values[pick(sizeof(values) / sizeof(values[0]))];
  switch (pick(8)) {
  case 0: r.code = (unsigned short)pick(OP_COUNT + 1); break;
  case 1: r.out = (unsigned short)(pick(2) ? SLOT_NONE : 4 + pick(12)); break;
  case 2: r.skip = (unsigned short)pick(4); break;
  case 3: r.tolerate[pick(3)] = (unsigned short)pick(40); break;
  default: r.a[pick(5)] = pick(2) ? value : pick(16); break;
  }
  memcpy(record, &r, sizeof(r));
}

/* Change the records; return their number. */
static unsigned int change_records(unsigned char *at, unsigned int count, size room) {
  const size each = sizeof(struct plan_record);
  unsigned char spare[sizeof(struct plan_record)];
  unsigned int i = pick(count), j = pick(count);
  switch (count ? pick(6) : 5) {
  case 0: /* drop */
    memmove(at + i * each, at + (i + 1) * each, (count - i - 1) * each);
    return count - 1;
  case 1: /* double */
    if (room < (count + 1) * each)
      return count;
    memcpy(spare, at + j * each, each);
    memmove(at + (i + 1) * each, at + i * each, (count - i) * each);
    memcpy(at + i * each, spare, each);
    return count + 1;
  case 2: /* swap */
    memcpy(spare, at + i * each, each);
    memmove(at + i * each, at + j * each, each);
    memcpy(at + j * each, spare, each);
    return count;
  case 5:
    return count;
  default:
    change_field(at + i * each);
    return count;
  }
}

/* A plan in its parts, each with room of its own. */
static unsigned char records[1 << 18], blob[1 << 16], answers[1 << 12];

size LLVMFuzzerCustomMutator(unsigned char *data, size length, size room, unsigned int seed);
size LLVMFuzzerCustomMutator(unsigned char *data, size length, size room, unsigned int seed) {
  struct plan_header header;
  unsigned int plan_length = (unsigned int)length - PREFIX;
  state = seed;
  if (length >= PREFIX && PREFIX)
    memcpy(&plan_length, data, 4);
  if (length < PREFIX + sizeof(header) || plan_length < sizeof(header) || plan_length > length - PREFIX || !pick(64))
    return LLVMFuzzerMutate(data, length, room);
  memcpy(&header, data + PREFIX, sizeof(header));
  size ops = header.ops * sizeof(struct plan_record), rest = length - PREFIX - plan_length;
  if (ops > sizeof(records) / 2 || header.blob > sizeof(blob) / 2 || rest > sizeof(answers) ||
      plan_length != sizeof(header) + ops + header.blob)
    return LLVMFuzzerMutate(data, length, room);
  memcpy(records, data + PREFIX + sizeof(header), ops);
  memcpy(blob, data + PREFIX + sizeof(header) + ops, header.blob);
  memcpy(answers, data + PREFIX + plan_length, rest);
  unsigned int part = pick(PREFIX ? 8 : 4);
  if (part < 3)
    for (unsigned int n = 1 + pick(3); n--;)
      header.ops = change_records(records, header.ops, sizeof(records));
  else if (part == 3)
    header.blob = (unsigned int)LLVMFuzzerMutate(blob, header.blob, sizeof(blob) / 2);
  else
    rest = LLVMFuzzerMutate(answers, rest, sizeof(answers));
  if (header.blob)
    blob[header.blob - 1] = 0;
  header.inputs = pick(32) ? header.inputs : pick(PLAN_SLOTS);
  header.flags = pick(2);
  ops = header.ops * sizeof(struct plan_record);
  plan_length = (unsigned int)(sizeof(header) + ops + header.blob);
  if (PREFIX + plan_length + rest > room)
    return LLVMFuzzerMutate(data, length, room);
  if (PREFIX)
    memcpy(data, &plan_length, 4);
  memcpy(data + PREFIX, &header, sizeof(header));
  memcpy(data + PREFIX + sizeof(header), records, ops);
  memcpy(data + PREFIX + sizeof(header) + ops, blob, header.blob);
  memcpy(data + PREFIX + plan_length, answers, rest);
  return PREFIX + plan_length + rest;
}
