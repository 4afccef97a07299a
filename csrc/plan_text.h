/* The list of operations as text, a line each, and its hash: how two builds tell that they mean the same plan. */
#ifndef PYRUNC_PLAN_TEXT_H
#define PYRUNC_PLAN_TEXT_H

#include "plan_ops.h"

#define PLAN_LINE(name, signature, text) #name "\t" signature "\n"

static const char plan_text[] = PLAN_OPS(PLAN_LINE);

/* FNV-1a: any hash would do, since nobody attacks the list of a program that he has built himself. */
static inline unsigned int plan_hash(void) {
  unsigned int hash = 2166136261u;
  for (const char *p = plan_text; *p; p++)
    hash = (hash ^ (unsigned char)*p) * 16777619u;
  return hash;
}

_Static_assert(sizeof(struct plan_header) == 64, "the header is 64 bytes");
_Static_assert(sizeof(struct plan_record) == 56, "a record is 56 bytes");
_Static_assert(sizeof(struct talk_message) == 24, "a message is 24 bytes");
_Static_assert(sizeof(struct talk_answer) == 8, "an answer is 8 bytes");

#endif
